//! What keys do, as the user would tell it.

use super::{
    keys::{self, KEYS},
    scenario::Run,
    view::{Effect, Feed, Page},
};

#[test]
fn the_selection_follows_the_newest_finding_until_moved() {
    let mut run = Run::busy(3);
    assert_eq!(run.selected(), Some(3));
    run.fault(0);
    assert_eq!(run.selected(), Some(4));
    run.press("k");
    run.fault(1);
    assert_eq!(run.selected(), Some(3));
}

#[test]
fn moving_down_to_the_end_follows_again() {
    let mut run = Run::busy(3);
    run.press("up j");
    run.fault(0);
    assert_eq!(run.selected(), Some(4));
    run.press("g G");
    run.fault(1);
    assert_eq!(run.selected(), Some(5));
}

#[test]
fn a_page_is_as_many_rows_as_the_list_shows() {
    let mut run = Run::busy(30);
    run.press("pgup");
    assert_eq!(run.selected(), Some(24));
    run.press("pgdn");
    assert_eq!(run.selected(), Some(30));
}

#[test]
fn moving_beyond_either_end_stays_there() {
    let mut run = Run::busy(2);
    run.press("k k k k");
    assert_eq!(run.selected(), Some(1));
    run.press("pgdn j j");
    assert_eq!(run.selected(), Some(2));
    assert_eq!(Run::new(Feed::Live).press("k j g G pgup pgdn enter esc"), Effect::Redraw);
}

#[test]
fn enter_opens_the_finding_and_it_stays_while_others_come() {
    let mut run = Run::busy(2);
    run.press("enter");
    run.fault(0);
    assert_eq!((run.view.page, run.selected()), (Page::Finding, Some(2)));
    run.press("enter");
    assert_eq!(run.view.page, Page::Findings);
}

#[test]
fn enter_on_an_empty_list_opens_nothing() {
    let mut run = Run::new(Feed::Live);
    run.press("enter");
    assert_eq!(run.view.page, Page::Findings);
}

#[test]
fn scrolling_stops_at_the_last_line_and_turns_at_once() {
    let mut run = Run::lost();
    run.press("enter G");
    let end = run.view.scroll;
    run.press("j j j pgdn");
    assert_eq!(run.view.scroll, end);
    run.press("k");
    assert_eq!(run.view.scroll, end - 1);
}

#[test]
fn esc_leads_from_help_and_probes_back_to_where_they_were_opened() {
    let mut run = Run::lost();
    run.press("enter ? p esc");
    assert_eq!(run.view.page, Page::Finding);
    run.press("esc p p");
    assert_eq!(run.view.page, Page::Findings);
}

#[test]
fn a_filter_applies_with_enter_and_goes_with_esc() {
    let mut run = Run::lost();
    run.fault(3); // Its pin is gone: a suspect.
    let listed = |run: &Run| run.view.listed(&run.trace).len();
    run.press("/ L O S backspace S T");
    assert_eq!(listed(&run), 2);
    run.press("enter");
    assert_eq!((listed(&run), run.selected()), (1, Some(1)));
    run.press("esc");
    assert_eq!(listed(&run), 2);
    run.press("/ 1 2 3 6 space s u s p enter");
    assert_eq!((listed(&run), run.selected()), (1, Some(2)));
    run.press("/ esc");
    assert_eq!(listed(&run), 2);
}

#[test]
fn a_filter_looks_at_address_process_and_verdict() {
    let mut run = Run::lost();
    for (text, listed) in [
        ("0x7f1234002000", 1),
        ("7f1234003000", 0),
        ("provoke", 1),
        ("1234", 1),
        ("nobody", 0),
        ("PROVOKE lost", 1),
        ("provoke diverged", 0),
    ] {
        run.view.filter = super::view::Filter::parse(text);
        assert_eq!(run.view.listed(&run.trace).len(), listed, "{text}");
    }
}

#[test]
fn q_is_a_letter_in_a_filter_but_ctrl_c_leaves() {
    let mut run = Run::lost();
    assert_eq!(run.press("/ q"), Effect::Redraw);
    assert_eq!(run.view.typing.as_deref(), Some("q"));
    assert_eq!(run.press("ctrl-c"), Effect::Quit);
    assert_eq!(Run::lost().press("enter q"), Effect::Quit);
}

#[test]
fn pause_holds_the_list_while_findings_go_on_to_be_counted() {
    let mut run = Run::busy(2);
    run.press("space");
    run.fault(0);
    assert_eq!((run.selected(), run.view.held_back(&run.trace)), (Some(2), 1));
    run.press("space");
    assert_eq!((run.selected(), run.view.held_back(&run.trace)), (Some(3), 0));
}

#[test]
fn a_key_without_a_meaning_changes_nothing() {
    assert_eq!(Run::lost().press("x"), Effect::Nothing);
    assert_eq!(Run::lost().press("c"), Effect::Nothing);
}

#[test]
fn every_key_of_the_table_does_what_its_row_says() {
    for key in KEYS {
        for event in key.events() {
            assert_eq!(keys::action(event), Some(key.action), "{}", key.name);
        }
    }
}
