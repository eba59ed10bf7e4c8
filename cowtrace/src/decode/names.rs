//! Names that the source found: of addresses, cgroups and mappings. They come from outside and lose their control
//! characters here.

use super::{Malformed, texts, u32_le, u64_le};
use crate::event::{VmaName, What};

/// SYMBOL.
pub fn symbol(body: &mut &[u8]) -> Result<What, Malformed> {
    let (address, tgid) = (u64_le(body)?, u32_le(body)?);
    let [name] = texts(body)?;
    Ok(What::Symbol { address, tgid, name })
}

/// CGROUP.
pub fn cgroup(body: &mut &[u8]) -> Result<What, Malformed> {
    let id = u64_le(body)?;
    let [path] = texts(body)?;
    Ok(What::Cgroup { id, path })
}

/// VMA_NAME.
pub fn vma(body: &mut &[u8]) -> Result<What, Malformed> {
    let (mm, start, end) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
    let [name] = texts(body)?;
    Ok(What::VmaName(VmaName { mm, start, end, name: name.into() }))
}
