//! What is pinned now: by whom, how much, for how long.

use ratatui::text::{Line, Span};

use super::{Scene, detail, empty, list::Column, text};
use crate::sinks::{
    coherence, mapped, owners, reach, stack,
    tui::{
        palette::STRONG,
        view::{Holder, Pinned},
    },
};

/// Columns of who holds pins.
pub fn holders<'t>() -> Vec<Column<Holder<'t>>> {
    vec![
        Column::new("pages", 0, 9, |holder, _, _| holder.pages().to_string()),
        Column::new("size", 8, 9, |holder, _, _| size(holder.pages())),
        Column::new("pins", 4, 6, |holder, _, _| holder.pins.len().to_string()),
        Column::new("oldest", 8, 9, |holder, scene, _| age(scene, holder.since())),
        Column::new("process", 14, 20, |holder, _, width| {
            let first = holder.pins.first().map(|pinned| pinned.pin.holder);
            first.map_or_else(String::new, |task| text::process(task, width))
        }),
        Column::new("flags", 0, 14, |holder, scene, width| {
            let flags = holder.pins.first().map(|pinned| pinned.pin.gup_flags);
            text::shorten(&scene.trace.facts.flag_names(flags.unwrap_or(0)), width)
        }),
        Column::new("mapped", 11, 28, |holder, _, width| vma(holder.vma.as_deref(), width)),
        Column::new("owner", 24, 30, |holder, scene, width| {
            let pins = holder.pins.iter().map(|pinned| &**pinned.pin);
            let owner = owners::common(scene.trace, pins).or_else(|| holder.site.clone());
            text::shorten(owner.as_deref().unwrap_or("not seen"), width)
        }),
    ]
}

/// Columns of pins.
pub fn pins<'t>() -> Vec<Column<Pinned<'t>>> {
    vec![
        Column::new("pages", 9, 9, |pinned, _, _| pinned.pages.to_string()),
        Column::new("size", 8, 9, |pinned, _, _| size(pinned.pages)),
        Column::new("age", 9, 10, |pinned, scene, _| age(scene, pinned.pin.time)),
        Column::new("from address", 22, 15, |pinned, _, width| {
            text::shorten(&pinned.pin.place(), width)
        }),
        Column::new("mapped", 0, 12, |pinned, scene, width| {
            vma(scene.trace.vma_name(pinned.pin).map(|name| &**name), width)
        }),
        Column::new("by", 0, 16, |pinned, _, width| text::thread(pinned.pin.holder, width)),
        Column::new("coherent by", 0, 18, |pinned, scene, width| {
            let coherence = coherence::of_pin(scene.trace, pinned.pin);
            text::shorten(&coherence::short(scene.trace, &coherence), width)
        }),
        Column::new("owner", 24, 30, |pinned, scene, width| {
            let owner = owners::words(scene.trace, pinned.pin);
            text::shorten(owner.as_deref().unwrap_or("not seen"), width)
        }),
    ]
}

/// A group's lines.
pub fn holder_lines(scene: Scene, holder: &Holder, width: usize) -> Vec<Line<'static>> {
    let Some(first) = holder.pins.first() else { return Vec::new() };
    let sentence = format!(
        "{} of {} pinned by {} in {}, the first {} ago",
        size(holder.pages()),
        text::count(holder.pages(), "page"),
        text::process(first.pin.holder, 60),
        text::count(holder.pins.len() as u64, "call"),
        age(scene, holder.since()),
    );
    let mut lines = vec![Line::styled(format!("  {sentence}"), STRONG), Line::default()];
    lines.extend(fields(scene, first, width));
    lines
}

/// A pin's lines.
pub fn pin_lines(scene: Scene, pinned: &Pinned, width: usize) -> Vec<Line<'static>> {
    let pin = pinned.pin;
    let sentence = format!(
        "{} of {} still pinned",
        text::count(pinned.pages, "page"),
        pin.pages.max(pinned.pages)
    );
    let mut lines = vec![Line::styled(format!("  {sentence}"), STRONG), Line::default()];
    lines.extend(fields(scene, pinned, width));
    lines
}

fn fields(scene: Scene, pinned: &Pinned, width: usize) -> Vec<Line<'static>> {
    let (trace, pin) = (scene.trace, pinned.pin);
    let cgroup = trace.cgroup(pin.holder.cgroup);
    let flags = format!("{} ({:#x})", trace.facts.flag_names(pin.gup_flags), pin.gup_flags);
    let when = format!("{}, {} ago", text::since(trace, pin.time), age(scene, pin.time));
    let owner = owners::words(trace, pin).unwrap_or_else(|| "not seen".to_owned());
    let fields = [
        ("by", text::thread(pin.holder, 60)),
        ("owner", owner),
        ("cgroup", cgroup.map_or_else(|| "not known".to_owned(), str::to_owned)),
        ("at", when),
        ("mapped", trace.vma_name(pin).map_or("not known", |name| mapped(name)).to_owned()),
        ("range", format!("{} from {} on", text::count(pin.pages, "page"), pin.place())),
        ("flags", flags),
    ];
    let coherence = coherence::sentence(trace, &coherence::of_pin(trace, pin));
    let not_known = || "not known: notifiers from before the trace were not listed".to_owned();
    let coherence = ("MMUs", coherence.unwrap_or_else(not_known));
    let mut lines: Vec<_> = fields
        .iter()
        .chain([&coherence])
        .flat_map(|(label, text)| detail::field(label, text, width))
        .collect();
    for line in reach::of_pin(trace, pin) {
        lines.extend(detail::field("device", &line, width));
    }
    lines.push(Line::default());
    let frames = stack::lines(trace, pin.holder.tgid, &pin.stack);
    lines.push(Line::from(Span::styled("  pinned from", STRONG)));
    lines.extend(
        frames.iter().map(|frame| {
            Line::raw(format!("    {}", text::shorten(frame, width.saturating_sub(4))))
        }),
    );
    lines
}

/// What stands where the pins would.
pub fn none(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let text = if scene.view.place().filter.is_empty() {
        let short = scene.trace.short_term.live();
        format!(
            "Nothing is pinned that was pinned since the trace began. Short-term pins, as O_DIRECT has them, are \
             counted only ({} now). `cowtrace audit` tells what registered buffers there were before.",
            text::count(short, "page")
        )
    } else {
        format!("No pin meets \"{}\". {}", scene.view.place().filter.text(), empty::clears(scene))
    };
    empty::paragraph(&text, width)
}

/// What is mapped there, as far as it is known.
fn vma(name: Option<&str>, width: usize) -> String {
    match name {
        None => "not known".to_owned(),
        Some("") => "anonymous".to_owned(),
        Some(name) => text::shorten_path(name.trim_end_matches(" (deleted)"), width),
    }
}

/// Bytes of so many pages.
fn size(pages: u64) -> String {
    let kib = pages.saturating_mul(4);
    match kib {
        0..10_000 => format!("{kib} KiB"),
        10_000..10_000_000 => format!("{} MiB", kib >> 10),
        _ => format!("{} GiB", kib >> 20),
    }
}

fn age(scene: Scene, time: u64) -> String {
    text::between(time, scene.trace.now)
}
