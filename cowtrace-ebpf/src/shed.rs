//! What is left out to keep a budget. Whole programs are detached for that, which costs nothing; here is what programs
//! leave out that have to stay.

use aya_ebpf::{macros::map, maps::Array};
use cowtrace_common::setting::{Setting, Stage};

use crate::kernel::setting;

/// How many stages are left out. The user side writes it.
#[map]
static SHED: Array<u32> = Array::with_max_entries(1, 0);

/// Whether a stage is left out. Without a budget the verifier prunes the question.
#[inline(always)]
pub fn is_shed(stage: Stage) -> bool {
    setting(Setting::Sheds) != 0 && SHED.get(0).is_some_and(|stages| *stages >= stage as u32)
}
