//! A PCI device that user space drives (vfio), and what it may reach by DMA.
//!
//! Surprise: a group can be open once in the whole system, and forked children
//! keep it open. A second `open` meets `EBUSY` until they are gone.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        raw::c_int,
        unix::fs::FileExt as _,
    },
    path::Path,
};

use super::{Mapping, new_descriptor, succeeded};

// include/uapi/linux/vfio.h: _IO(';', 100 + n), which tells no size.
const SET_IOMMU: u32 = 0x3B66;
const GROUP_SET_CONTAINER: u32 = 0x3B68;
const GROUP_GET_DEVICE_FD: u32 = 0x3B6A;
const DEVICE_GET_REGION_INFO: u32 = 0x3B6C;
const IOMMU_MAP_DMA: u32 = 0x3B71;
const TYPE1_V2: c_int = 3;

/// What the device may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it: pinned for reading.
    Read,
    /// Read and write it: pinned for writing.
    ReadWrite,
}

/// A part of the device's own address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its first memory region (BAR 0).
    Registers = 0,
    /// PCI configuration space.
    Configuration = 7,
}

/// `struct vfio_iommu_type1_dma_map`.
#[repr(C)]
struct DmaMap {
    size_of_this: u32,
    access: u32,
    address: u64,
    iova: u64,
    bytes: u64,
}

/// `struct vfio_region_info`.
#[repr(C)]
#[derive(Default)]
struct RegionInfo {
    size_of_this: u32,
    flags: u32,
    index: u32,
    capabilities: u32,
    bytes: u64,
    offset: u64,
}

/// The device, alone in an IOMMU domain. Dropped, it reaches nothing and all is unpinned.
#[derive(Debug)]
pub struct Vfio {
    device: File,
    container: File,
    _group: File,
}

impl Vfio {
    /// Takes the device at PCI address `address` (0000:00:03.0), which vfio-pci must drive.
    ///
    /// Fails with `ENOENT` where there is no such device, no IOMMU or no vfio, with `EPERM` where the
    /// IOMMU does not remap interrupts and vfio was not told to accept that.
    pub fn open(address: &str) -> io::Result<Self> {
        let group =
            fs::read_link(Path::new("/sys/bus/pci/devices").join(address).join("iommu_group"))?;
        let number = group.file_name().ok_or(io::ErrorKind::NotFound)?;
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let group = open(&Path::new("/dev/vfio").join(number))?;
        let container = open(Path::new("/dev/vfio/vfio"))?;
        let container_fd: RawFd = container.as_raw_fd();
        // SAFETY: the argument is a number in memory, which the kernel only reads.
        unsafe { ask(&group, GROUP_SET_CONTAINER, (&raw const container_fd).cast_mut()) }?;
        // SAFETY: the argument is a number, so the kernel touches no memory of ours.
        succeeded(unsafe { libc::ioctl(container_fd, SET_IOMMU.into(), TYPE1_V2) })?;
        let name = CString::new(address).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a C string, which the kernel only reads.
        let device = unsafe { ask(&group, GROUP_GET_DEVICE_FD, name.as_ptr().cast_mut()) }?;
        let device = File::from(new_descriptor(device.into())?);
        Ok(Self { device, container, _group: group })
    }

    /// Pins all of `memory` and lets the device reach it at `iova`.
    pub fn map(&self, memory: &Mapping, iova: u64, access: Access) -> io::Result<()> {
        const READ: u32 = 1;
        const WRITE: u32 = 2;
        let mut map = DmaMap {
            size_of_this: size_of::<DmaMap>() as u32,
            access: if access == Access::Read { READ } else { READ | WRITE },
            address: memory.address() as u64,
            iova,
            bytes: memory.bytes() as u64,
        };
        // SAFETY: the structure of this request, only read. What it names is a Mapping, to which no
        // reference exists, and the pin keeps its pages allocated even after an unmap.
        unsafe { ask(&self.container, IOMMU_MAP_DMA, &raw mut map) }.map(drop)
    }

    /// Reads from the device.
    pub fn read(&self, part: Part, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_exact_at(bytes, self.start_of(part)? + offset)
    }

    /// Writes to the device.
    pub fn write(&self, part: Part, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device.write_all_at(bytes, self.start_of(part)? + offset)
    }

    /// Where in the device's file a part begins.
    fn start_of(&self, part: Part) -> io::Result<u64> {
        let size_of_this = size_of::<RegionInfo>() as u32;
        let mut info = RegionInfo { size_of_this, index: part as u32, ..RegionInfo::default() };
        // SAFETY: the structure of this request, which the kernel fills up to the size that it tells.
        unsafe { ask(&self.device, DEVICE_GET_REGION_INFO, &raw mut info) }?;
        Ok(info.offset)
    }
}

/// `ioctl(2)` with `argument` in memory.
///
/// # Safety
///
/// `argument` is what `request` takes, valid for what the kernel does with it.
unsafe fn ask<T>(file: &File, request: u32, argument: *mut T) -> io::Result<c_int> {
    // SAFETY: as demanded of the caller.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), request.into(), argument) };
    succeeded(answer).map(|()| answer)
}
