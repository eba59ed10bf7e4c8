//! Made-up runs for the tests of this module, folded from events as a source would send them.

use std::time::{Duration, Instant};

use cowtrace_common::{
    program::Program,
    setting::Stage,
    wire::{Outcome, page_bit},
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    draw::draw,
    keys::Keys,
    palette::Palette,
    view::{Effect, Feed, Selected, View},
};
use crate::{
    budget::{Kept, Share},
    event::{
        Api, Attached, Comm, Cost, DeviceMap, DeviceUnmap, Event, Extent, Extents, Fault,
        Invalidate, Pin, ProbeState, Protect, Protector, Secondary, Stack, Tally, Task, Time,
        Unpin, VmaName, What,
    },
    facts::key,
    owner::{Found, Kind, Owner},
    trace::Trace,
};

/// Address space of `provoke`.
pub const MM: u64 = 0xffff_8880_0123_4000;
/// Its buffer.
pub const BUFFER: u64 = 0x7f12_3400_0000;
/// PFN of the buffer's first page.
pub const PFN: u64 = 0x0010_e000;
const START: u64 = 100_000_000_000;
const FRAMES: [(u32, u64, &str); 5] = [
    (0, 0xffff_ffff_8129_0010, "do_wp_page+0x1f0"),
    (0, 0xffff_ffff_8129_0020, "internal_get_user_pages_fast+0x6c0"),
    (0, 0xffff_ffff_8139_0030, "io_sqe_buffers_register+0x2d4"),
    (1234, 0x5555_0000_1000, "cowtrace::provoke::register"),
    (1234, 0x5555_0000_2000, "cowtrace::provoke::write_to_every_page_of_the_buffer"),
];

/// A run: what was seen so far, and the user in front of it.
pub struct Run {
    pub trace: Trace,
    pub view: View,
    now: Time,
}

impl Run {
    /// Attached to a kernel, nothing seen yet.
    pub fn new(feed: Feed) -> Self {
        let mut run =
            Self { trace: Trace::default(), view: View::new(feed, Keys::default()), now: START };
        for (key, value) in [
            (key::VERSION, "0.1.0"),
            (key::HOST, "lab"),
            (key::KERNEL, "5.10.0-35-cloud-amd64"),
            (key::STARTED, "100000000000"),
        ] {
            run.source(What::Fact { key: key.to_owned(), value: value.to_owned() });
        }
        run.probe(0, "write-protect fault answered", "fexit do_wp_page", "COW breaks");
        run.probe(1, "pages pinned", "kprobe pin_user_pages + kretprobe pin_user_pages", "pins");
        run.probe(2, "pages unpinned", "fentry unpin_user_pages", "unpins");
        run.probe(3, "folios unpinned", "", "");
        for (tgid, address, name) in FRAMES {
            run.source(What::Symbol { address, tgid, name: name.to_owned() });
        }
        run.program(Program::WpFaultExit, What::Tally(Tally { hits: 12, ..Tally::default() }));
        run
    }

    /// The same with a pin of four pages, of which the process loses the third.
    pub fn diverged() -> Self {
        let mut run = Self::new(Feed::Live);
        run.pin();
        run.fork();
        run.fault(2);
        run
    }

    /// The same, and the pin ends dirty.
    pub fn lost() -> Self {
        let mut run = Self::diverged();
        run.unpin();
        run
    }

    /// Many findings.
    pub fn busy(findings: u64) -> Self {
        let mut run = Self::new(Feed::Live);
        run.pin();
        for page in 0..findings {
            run.fault(page % 4);
        }
        run
    }

    pub fn probe(&mut self, row: u8, sees: &str, attached: &str, unseen: &str) {
        let (sees, attached, unseen) = (sees.to_owned(), attached.to_owned(), unseen.to_owned());
        self.source(What::Probe(ProbeState { row, sees, attached, unseen }));
    }

    pub fn lose(&mut self, records: u64) {
        let tally = Tally { hits: 5000, ring_full: records, ..Tally::default() };
        self.program(Program::PinExit, What::Tally(tally));
    }

    /// Stages are shed, for a cost of twice the budget.
    pub fn shed(&mut self, stages: &[Stage]) {
        let mut kept =
            Kept { limit: Share { ppm: 10_000 }, window: 1_000_000_000, ..Kept::default() };
        (kept.programs, kept.user) = (15_000_000, 5_000_000);
        for stage in stages {
            kept.shed(*stage, START);
        }
        self.source(What::Budget(Box::new(kept)));
    }

    /// Each program ran so often, for so many nanoseconds in all.
    pub fn cost(&mut self, runs: u64, nanos: u64) {
        self.program(Program::PinExit, What::Cost(Cost { runs, nanos }));
    }

    pub fn pin(&mut self) {
        let pin = Pin {
            mm: MM,
            address: BUFFER,
            pages: 4,
            call_pages: 4,
            unlisted: 0,
            gup_flags: 0x101,
            part: 0,
            extents: four_pages(),
        };
        let stack = stack(&[FRAMES[1].1, FRAMES[2].1], &[FRAMES[3].1]);
        self.source(What::VmaName(VmaName {
            mm: MM,
            start: BUFFER,
            end: BUFFER + 0x4000,
            name: "/dev/shm/buffer-of-provoke (deleted)".into(),
        }));
        self.take(Some(Program::PinExit), task(1234), stack, What::Pin(pin));
    }

    /// The owner of the pin that was made just now is told.
    pub fn own(&mut self, name: &str) {
        let owner = Owner::new(Kind::IoUring, Found::Sure, name).into();
        let what = What::Owner { pinned: self.now, owner };
        self.take(None, task(1234), Stack::default(), what);
    }

    pub fn fork(&mut self) {
        let what = What::Fork { parent_mm: MM, child_mm: MM + 0x1000, child_tgid: 1240 };
        self.take(Some(Program::Fork), task(1234), Stack::default(), what);
    }

    /// A thread of the process writes to a page and gets a copy.
    pub fn fault(&mut self, page: u64) {
        let fault = Fault {
            mm: MM,
            address: BUFFER + (page << 12),
            vma: (BUFFER, BUFFER + 0x4000),
            vma_flags: 0x0010_0073,
            old_pfn: PFN + page,
            new_pfn: 0x0012_abc0 + page,
            references: 1025,
            mappings: 0,
            pins: 1,
            fault_flags: 1,
            page_bits: page_bit::KNOWN | page_bit::MAYBE_PINNED | page_bit::ANON,
            outcome: Outcome::Copy,
        };
        let stack = stack(&[FRAMES[0].1], &[FRAMES[4].1, 0x5555_0000_3000]);
        self.take(Some(Program::WpFaultExit), task(1236), stack, What::Fault(fault));
    }

    /// The process write-protects its buffer.
    pub fn protect(&mut self) {
        let protect = Protect {
            mm: MM,
            start: BUFFER,
            end: BUFFER + 0x4000,
            vma_flags: 0x0010_0071,
            mapped_shift: 12,
            by: Some(Protector::Mprotect),
        };
        self.program(Program::Protect, What::Protect(protect));
    }

    pub fn unpin(&mut self) {
        let unpin = Unpin { pages: 4, unlisted: 0, make_dirty: true, extents: four_pages() };
        self.program(Program::UnpinPages, What::Unpin(unpin));
    }

    /// The user types a line.
    pub fn type_line(&mut self, line: &str) {
        self.type_keys(line);
        self.press("enter");
    }

    /// The user types faster than anything is drawn.
    pub fn type_keys(&mut self, keys: &str) {
        for c in keys.chars() {
            self.view.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), &self.trace);
        }
    }

    /// The user presses keys, one after the other; what the last one did.
    pub fn press(&mut self, keys: &str) -> Effect {
        let mut effect = Effect::Nothing;
        for key in keys.split(' ') {
            self.screen(80, 24); // As the loop does: paging needs what was drawn.
            effect = self.view.key(key_named(key), &self.trace);
        }
        effect
    }

    /// What the user sees, without the spaces at the ends of lines.
    pub fn screen(&mut self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no I/O in it");
        let (view, trace) = (&self.view, &self.trace);
        let mut drawn = None;
        terminal
            .draw(|frame| drawn = Some(draw(frame, view, trace, Palette::new(true))))
            .expect("no I/O in it");
        self.view.drawn(drawn.expect("drawn"));
        let buffer = terminal.backend().buffer();
        let cells = buffer.content().chunks(width.into());
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>()
        };
        cells.map(|cells| line(cells).trim_end().to_owned() + "\n").collect()
    }

    /// What is selected: of a finding its number, of a group the number of its first one.
    pub fn selected(&self) -> Option<u64> {
        match self.view.selected(self.view.shown(&self.trace)) {
            Selected::Nothing => None,
            Selected::Group(group) => Some(group.first().id as u64),
            Selected::Finding(finding) => Some(finding.id as u64),
            Selected::Holder(holder) => holder.pins.first().map(|pinned| pinned.pin.call),
            Selected::Pin(pinned) => Some(pinned.pin.call),
            Selected::Event(numbered) => Some(numbered.number),
        }
    }

    /// How many rows are listed.
    pub fn listed(&self) -> usize {
        self.view.rows(self.view.shown(&self.trace)).0.len()
    }

    /// The user clicks.
    pub fn click(&mut self, column: u16, row: u16) {
        self.screen(80, 24);
        let kind = MouseEventKind::Down(MouseButton::Left);
        let mouse = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
        self.view.mouse(mouse, &self.trace);
    }

    /// KVM is the one secondary MMU of the address space that is pinned next.
    pub fn kvm(&mut self) {
        const OPS: u64 = 0xffff_ffff_c000_0f00;
        let name = "kvm_mmu_notifier_ops+0x0 [kvm]".to_owned();
        self.source(What::Symbol { address: OPS, tgid: 0, name });
        let list = Secondary { mm: MM, ops: [OPS].into_iter().collect(), ..Secondary::default() };
        self.program(Program::PinExit, What::Secondary(list));
    }

    /// A secondary MMU is registered, and told of a pinned range.
    pub fn invalidate(&mut self, took: Time) {
        let (start, end, event, flags) = (BUFFER, BUFFER + 0x4000, 1, 0);
        let began = self.now + 120_000_000 - took;
        let what = What::Invalidate(Invalidate { mm: MM, start, end, began, event, flags });
        self.program(Program::InvalidateEnd, what);
    }

    /// A device maps the buffer, where that is watched.
    pub fn map_for_a_device(&mut self) {
        let value = "iommu".to_owned();
        self.source(What::Fact { key: key::DEVICE_MAPS.to_owned(), value });
        let name = "0000:00:03.0".into();
        self.program(
            Program::IommuAttachExit,
            What::Attached(Attached { device: 1, space: 0xd0, name }),
        );
        let (space, iova, physical, bytes) = (0xd0, 0x100_0000, PFN << 12, 4 << 12);
        let (api, doubtful, device) = (Api::Iommu, false, "".into());
        let map = DeviceMap { space, iova, physical, bytes, api, doubtful, device };
        self.program(Program::IommuMapExit, What::DeviceMap(map));
    }

    /// It maps it no more.
    pub fn unmap_for_the_device(&mut self) {
        let (space, iova, bytes, api) = (0xd0, 0x100_0000, 4 << 12, Api::Iommu);
        let unmap = DeviceUnmap { space, iova, bytes, api };
        self.program(Program::IommuUnmapExit, What::DeviceUnmap(unmap));
    }

    /// Another process pins a buffer of so many pages.
    pub fn pin_by(&mut self, tgid: u32, pages: u64) {
        let extents = [Extent::new(0x20_0000 + u64::from(tgid) * 0x1000, pages)];
        let pin = Pin {
            mm: MM + u64::from(tgid) * 0x1000,
            address: BUFFER,
            pages,
            call_pages: pages,
            unlisted: 0,
            gup_flags: 0x101,
            part: 0,
            extents: extents.into(),
        };
        let stack = stack(&[FRAMES[1].1, FRAMES[2].1], &[]);
        let task = Task { tgid, tid: tgid, ..task(tgid) };
        self.take(Some(Program::PinExit), task, stack, What::Pin(pin));
    }

    /// The clock of the loop reads the record count twice, a second apart.
    pub fn measure(&mut self, then: u64, now: u64) {
        let start = Instant::now();
        self.view.measure(start, then);
        self.view.measure(start + Duration::from_secs(1), now);
    }

    fn source(&mut self, what: What) {
        self.take(None, Task::default(), Stack::default(), what);
    }

    fn program(&mut self, program: Program, what: What) {
        self.take(Some(program), task(1234), Stack::default(), what);
    }

    fn take(&mut self, program: Option<Program>, task: Task, stack: Stack, what: What) {
        if program.is_some() {
            self.now += 120_000_000;
        }
        let event = Event { time: self.now, task, cpu: 0, program, stack, what };
        self.view.event(&event);
        self.trace.take(Ok(event));
    }
}

fn task(tid: u32) -> Task {
    Task { tgid: 1234, tid, comm: Comm(*b"provoke\0\0\0\0\0\0\0\0\0"), cgroup: 1 }
}

fn stack(kernel: &[u64], user: &[u64]) -> Stack {
    Stack::new(kernel, user)
}

fn four_pages() -> Extents {
    [Extent::new(PFN, 4)].into()
}

fn key_named(name: &str) -> KeyEvent {
    let code = match name {
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "pgup" => KeyCode::PageUp,
        "pgdn" => KeyCode::PageDown,
        "enter" => KeyCode::Enter,
        "left" => KeyCode::Left,
        "right" => KeyCode::Right,
        "tab" => KeyCode::Tab,
        "shift-tab" => KeyCode::BackTab,
        "esc" => KeyCode::Esc,
        "backspace" => KeyCode::Backspace,
        "space" => KeyCode::Char(' '),
        "ctrl-c" => return KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
        "G" => return KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT),
        _ => KeyCode::Char(name.chars().next().expect("a key")),
    };
    KeyEvent::new(code, KeyModifiers::NONE)
}
