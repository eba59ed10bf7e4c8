//! Names that the source found: of addresses, cgroups, mappings and owners of pins. They come from outside and lose their control
//! characters here.

use super::{Malformed, texts, u32_le, u64_le};
use crate::{
    event::{VmaName, What},
    owner::{Found, Kind, Owner},
};

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

/// OWNER.
pub fn owner(body: &mut &[u8]) -> Result<What, Malformed> {
    let (pinned, kind, fit) = (u64_le(body)?, u32_le(body)?, u32_le(body)?);
    let known = Kind::ALL.get(kind as usize).copied();
    let kind = known.ok_or(Malformed::Number { field: "sort of owner", value: kind.into() })?;
    let found = match fit {
        0 => Found::TooLate,
        1 => Found::Sure,
        u32::MAX => Found::Nowhere,
        several => Found::OneOf(several),
    };
    let [name] = texts(body)?;
    Ok(What::Owner { pinned, owner: Owner::new(kind, found, &name).into() })
}
