//! The records that only keyframes have.

use cowtrace_common::wire::kind;

use super::{MOST_PFN, Malformed, u32_le, u64_le};
use crate::{
    event::{Before, Extent, Held, HeldAt, Untold},
    finding::{Proof, Verdict},
};

/// Of the kinds from KEYFRAME to KEYFRAME_END.
pub fn before(kind: u16, body: &mut &[u8]) -> Result<Before, Malformed> {
    Ok(match kind {
        kind::KEYFRAME => Before::Begin,
        kind::HELD => Before::Held(held(body)?),
        kind::GRADE => grade(u32_le(body)?, u32_le(body)?)?,
        kind::TOLD => Before::Told([u64_le(body)?, u64_le(body)?, u64_le(body)?]),
        _ => Before::End(Untold {
            malformed: u64_le(body)?,
            unknown: u64_le(body)?,
            unlisted: u64_le(body)?,
        }),
    })
}

fn held(body: &mut &[u8]) -> Result<Held, Malformed> {
    let [id, call, mm, address, pages, listed_from] = [(); 6].map(|()| u64_le(body));
    let [gup_flags, gone, extents, dropped, places, _zero] = [(); 6].map(|()| u32_le(body));
    // Numbers that overflow no sum, as in an audit.
    let count = |pages: u64| pages.min(u32::MAX.into());
    let mut extent = || {
        let (pfn, pages, held) = (u64_le(body)? & MOST_PFN, count(u64_le(body)?), u64_le(body)?);
        Ok((Extent::new(pfn, pages), held != 0))
    };
    let extents = (0..extents?).map(|_| extent()).collect::<Result<_, _>>()?;
    let mut references = || Ok((u64_le(body)? & MOST_PFN, count(u64_le(body)?)));
    let dropped = (0..dropped?).map(|_| references()).collect::<Result<_, _>>()?;
    let mut place = || {
        let (mm, start) = (u64_le(body)?, u64_le(body)?);
        let (pages, index) = (count(u64_le(body)?), count(u64_le(body)?));
        Ok(HeldAt { mm, start, pages, index })
    };
    let places = (0..places?).map(|_| place()).collect::<Result<_, _>>()?;
    Ok(Held {
        // Nobody counts as far; from here on there is room to count on.
        id: id?.min(u64::MAX / 2),
        call: call?.min(u64::MAX / 2),
        mm: mm?,
        address: address?,
        pages: pages?,
        listed_from: listed_from?,
        gup_flags: gup_flags?,
        gone: gone? != 0,
        extents,
        dropped,
        places,
    })
}

fn grade(verdict: u32, proof: u32) -> Result<Before, Malformed> {
    let known = Verdict::ALL.get(verdict as usize).copied();
    let verdict = known.ok_or(Malformed::Number { field: "verdict", value: verdict.into() })?;
    let proof = proof.checked_sub(1).map(|number| {
        let known = Proof::ALL.get(number as usize).copied();
        known.ok_or(Malformed::Number { field: "proof", value: number.into() })
    });
    Ok(Before::Grade(verdict, proof.transpose()?))
}
