//! What is mapped for devices.

use std::rc::Rc;

use super::Pfn;

/// By what interface of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// The IOMMU API: what vfio and iommufd map.
    Iommu,
    /// The DMA API: what drivers map.
    Dma,
}

impl Api {
    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iommu => "iommu",
            Self::Dma => "dma",
        }
    }
}

/// See `wire::DmaMap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMap {
    /// Whose addresses: an IOMMU domain, or a device.
    pub space: u64,
    /// Where the device finds it.
    pub iova: u64,
    /// Where it is.
    pub physical: u64,
    /// Bytes.
    pub bytes: u64,
    /// By what.
    pub api: Api,
    /// It may have ended unseen.
    pub doubtful: bool,
    /// The device; empty for an IOMMU domain.
    pub device: Rc<str>,
}

impl DeviceMap {
    /// First address behind, as the device has it.
    pub fn end(&self) -> u64 {
        self.iova.saturating_add(self.bytes)
    }

    /// First page, and first behind.
    pub fn pfns(&self) -> (Pfn, Pfn) {
        (self.physical >> 12, self.physical.saturating_add(self.bytes).div_ceil(4096))
    }

    /// Where the device finds a page, or the part of it that is mapped.
    pub fn iova_of(&self, pfn: Pfn) -> Option<u64> {
        let (first, end) = self.pfns();
        let into = (pfn << 12).saturating_sub(self.physical);
        (first..end).contains(&pfn).then(|| self.iova.saturating_add(into))
    }
}

/// See `wire::DmaUnmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceUnmap {
    /// As in [`DeviceMap`].
    pub space: u64,
    /// From where on.
    pub iova: u64,
    /// Bytes.
    pub bytes: u64,
    /// By what.
    pub api: Api,
}

/// See `wire::DmaDevice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The device's number.
    pub device: u64,
    /// The domain.
    pub space: u64,
    /// The device's name.
    pub name: Rc<str>,
}
