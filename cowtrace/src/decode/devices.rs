//! What is mapped for devices.

use cowtrace_common::wire::{DEVICE_NAME, dma_by};

use super::{MOST_PFN, Malformed, harmless, take, u32_le, u64_le};
use crate::event::{Api, Attached, DeviceMap, DeviceUnmap};

/// No mapping is longer: sums with addresses of pages cannot overflow.
const MOST_BYTES: u64 = (u32::MAX as u64) << 12;

/// DMA_MAP.
pub fn map(body: &mut &[u8]) -> Result<DeviceMap, Malformed> {
    let (space, iova) = (u64_le(body)?, u64_le(body)?);
    let (physical, bytes) = (u64_le(body)? & (MOST_PFN << 4), u64_le(body)?.min(MOST_BYTES));
    let (api, doubtful) = (api(u32_le(body)?)?, u32_le(body)? != 0);
    Ok(DeviceMap { space, iova, physical, bytes, api, doubtful, device: name(body)?.into() })
}

/// DMA_UNMAP.
pub fn unmap(body: &mut &[u8]) -> Result<DeviceUnmap, Malformed> {
    let (space, iova, bytes) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
    let (api, _reserved) = (api(u32_le(body)?)?, u32_le(body)?);
    Ok(DeviceUnmap { space, iova, bytes, api })
}

/// DMA_DEVICE.
pub fn attached(body: &mut &[u8]) -> Result<Attached, Malformed> {
    Ok(Attached { device: u64_le(body)?, space: u64_le(body)?, name: name(body)?.into() })
}

fn api(number: u32) -> Result<Api, Malformed> {
    match number {
        dma_by::IOMMU => Ok(Api::Iommu),
        dma_by::DMA => Ok(Api::Dma),
        number => Err(Malformed::Number { field: "interface of DMA", value: number.into() }),
    }
}

/// Up to the first NUL, and made harmless: whatever a driver calls its device ends on a terminal.
fn name(body: &mut &[u8]) -> Result<String, Malformed> {
    let bytes: [u8; DEVICE_NAME] = *take(body)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).chars().map(harmless).collect())
}
