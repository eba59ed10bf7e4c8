//! What the budget came to.

use cowtrace_common::setting::Stage;

use super::{Malformed, u64_le};
use crate::budget::{Kept, Share, Shed};

/// See `kind::BUDGET`.
pub fn kept(body: &mut &[u8]) -> Result<Kept, Malformed> {
    let limit = Share { ppm: u64_le(body)? };
    let [programs, user, window] = [u64_le(body)?, u64_le(body)?, u64_le(body)?];
    let [beyond, beyond_spent] = [u64_le(body)?, u64_le(body)?];
    let [spent, measured] = [u64_le(body)?, u64_le(body)?];
    let mut stages = [Shed::default(); Stage::ALL.len()];
    for stage in &mut stages {
        let [times, nanos, from, until] =
            [u64_le(body)?, u64_le(body)?, u64_le(body)?, u64_le(body)?];
        *stage = Shed { times, nanos, from, until };
    }
    Ok(Kept { limit, programs, user, window, beyond, beyond_spent, spent, measured, stages })
}
