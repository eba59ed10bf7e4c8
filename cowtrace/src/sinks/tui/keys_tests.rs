//! What keys do, as the user would tell it.

use super::{
    keys::Keys,
    scenario::Run,
    view::{Effect, Feed, Level, Play, Tab},
};

fn level(run: &Run) -> Level {
    run.view.place().level
}

#[test]
fn the_worst_group_is_selected_until_the_user_moves() {
    let mut run = Run::busy(3);
    run.fault(9); // Its page was never pinned: a suspect.
    assert_eq!((run.listed(), run.selected()), (2, Some(1)));
    run.press("j");
    assert_eq!(run.selected(), Some(4));
    run.press("k k k");
    assert_eq!(run.selected(), Some(1));
}

#[test]
fn enter_leads_from_a_group_to_its_members_and_to_one_and_esc_back() {
    let mut run = Run::busy(3);
    run.press("enter");
    assert_eq!((level(&run), run.listed(), run.selected()), (Level::Members, 3, Some(3)));
    run.press("k enter");
    assert_eq!((level(&run), run.selected()), (Level::One, Some(2)));
    run.press("esc");
    assert_eq!(level(&run), Level::Members);
    run.press("esc");
    assert_eq!(level(&run), Level::List);
}

#[test]
fn a_group_of_one_opens_at_once() {
    let mut run = Run::lost();
    run.press("enter");
    assert_eq!((level(&run), run.selected()), (Level::One, Some(1)));
    run.press("esc");
    assert_eq!(level(&run), Level::List);
}

#[test]
fn members_follow_the_newest_until_the_user_moves_and_again_at_the_end() {
    let mut run = Run::busy(3);
    run.press("enter");
    run.fault(0);
    assert_eq!(run.selected(), Some(4));
    run.press("k");
    run.fault(1);
    assert_eq!(run.selected(), Some(3));
    run.press("j j");
    run.fault(2);
    assert_eq!(run.selected(), Some(6));
}

#[test]
fn what_is_being_read_stays_when_a_proof_moves_it_to_another_group() {
    let mut run = Run::diverged();
    run.fault(1);
    run.press("enter k enter");
    assert_eq!(run.selected(), Some(1));
    run.unpin(); // Dirty: both are lost now.
    assert_eq!((level(&run), run.selected()), (Level::One, Some(1)));
}

#[test]
fn a_page_is_as_many_rows_as_the_list_shows() {
    let mut run = Run::busy(30);
    run.press("enter pgup");
    assert_eq!(run.selected(), Some(24));
    run.press("pgdn");
    assert_eq!(run.selected(), Some(30));
}

#[test]
fn moving_beyond_either_end_stays_there_and_nothing_is_there_to_open() {
    let mut run = Run::busy(2);
    run.press("enter k k k k");
    assert_eq!(run.selected(), Some(1));
    run.press("pgdn j j");
    assert_eq!(run.selected(), Some(2));
    let mut empty = Run::new(Feed::Live);
    assert_eq!(empty.press("k j g G pgup pgdn enter"), Effect::Redraw);
    assert_eq!((level(&empty), empty.selected()), (Level::List, None));
}

#[test]
fn scrolling_stops_at_the_last_line_and_turns_at_once() {
    let mut run = Run::lost();
    run.press("enter G");
    let end = run.view.scroll();
    assert!(end > 0);
    run.press("j j j pgdn");
    assert_eq!(run.view.scroll(), end);
    run.press("k");
    assert_eq!(run.view.scroll(), end - 1);
}

#[test]
fn keys_that_come_before_the_page_is_drawn_lead_to_its_end_all_the_same() {
    let mut run = Run::lost();
    run.screen(80, 10);
    run.type_keys("5G");
    run.screen(80, 10);
    let end = run.view.scroll();
    run.type_keys("j");
    run.screen(80, 10);
    assert!(end > 0);
    assert_eq!(run.view.scroll(), end);
}

#[test]
fn tabs_are_reached_by_number_and_in_turn_and_keep_what_was_open() {
    let mut run = Run::lost();
    run.press("enter 3");
    assert_eq!(run.view.tab, Tab::Events);
    run.press("tab tab tab");
    assert_eq!((run.view.tab, level(&run)), (Tab::Findings, Level::One));
    run.press("shift-tab");
    assert_eq!(run.view.tab, Tab::Probes);
    run.press("? ?");
    assert_eq!((run.view.tab, run.view.help), (Tab::Probes, false));
}

#[test]
fn a_filter_applies_with_enter_and_goes_with_esc() {
    let mut run = Run::lost();
    run.fault(9);
    run.press("f");
    run.type_line("verdict>=diverged comm=prov*");
    assert_eq!((run.listed(), run.selected()), (1, Some(1)));
    run.press("esc");
    assert_eq!(run.listed(), 2);
    run.press("f x y z esc");
    assert_eq!(run.listed(), 2);
}

#[test]
fn a_filter_that_nobody_can_read_is_not_taken_and_says_why() {
    let mut run = Run::lost();
    run.press("f");
    run.type_line("com=x");
    let prompt = run.view.prompt.as_ref().expect("it goes on");
    assert!(prompt.wrong.as_ref().is_some_and(|wrong| wrong.contains("no field \"com\"")));
    run.press("backspace");
    assert_eq!(run.view.prompt.as_ref().and_then(|prompt| prompt.wrong.clone()), None);
}

#[test]
fn a_search_goes_on_around_the_end_and_says_when_there_is_nothing() {
    let mut run = Run::busy(6);
    run.press("enter /");
    run.type_line("address=0x7f1234001000");
    assert_eq!(run.selected(), Some(2));
    run.press("n");
    assert_eq!(run.selected(), Some(6));
    run.press("N N");
    assert_eq!(run.selected(), Some(6));
    run.press("/");
    run.type_line("nobody");
    assert!(run.view.notice.is_some());
    assert_eq!(run.selected(), Some(6));
}

#[test]
fn each_list_stands_in_the_orders_that_its_tab_has() {
    let mut run = Run::new(Feed::Live);
    run.pin_by(7, 5);
    run.pin_by(8, 50);
    run.press("2");
    assert_eq!(run.selected(), Some(1));
    run.press("s");
    assert_eq!(run.selected(), Some(0));
    run.press("s");
    assert_eq!(run.selected(), Some(1));
}

#[test]
fn q_is_a_letter_in_a_filter_but_ctrl_c_leaves() {
    let mut run = Run::lost();
    assert_eq!(run.press("f q"), Effect::Redraw);
    assert_eq!(run.view.prompt.as_ref().map(|prompt| prompt.text.as_str()), Some("q"));
    assert_eq!(run.press("ctrl-c"), Effect::Quit);
    assert_eq!(Run::lost().press("enter q"), Effect::Quit);
}

#[test]
fn pause_holds_everything_while_the_trace_goes_on() {
    let mut run = Run::busy(2);
    let before = run.press("space 3 1");
    assert_eq!(before, Effect::Redraw);
    let held = run.screen(80, 24);
    run.fault(0);
    run.pin_by(9, 100);
    assert_eq!(run.view.held_back(&run.trace), 1);
    assert_eq!(run.screen(80, 24).replace(" (1 new)", ""), held);
    run.press("space 2");
    assert_eq!((run.listed(), run.view.held_back(&run.trace)), (2, 0));
}

#[test]
fn a_recording_is_stepped_through_and_played_and_stands_still() {
    let mut run = Run::busy(3);
    let now = run.trace.now;
    run.view.play = Some(Play::new(Some((now - 1000, now))));
    assert_eq!(run.press("left"), Effect::Seek);
    assert_eq!(run.view.play.map(|play| play.goal), Some(now - 20));
    run.press("space ]");
    assert_eq!(run.view.play.map(|play| (play.goal, play.speed)), Some((now, Some(2.0))));
    run.press("space");
    assert_eq!(run.view.play.and_then(|play| play.speed), None);
    assert_eq!(Run::busy(3).press("left"), Effect::Nothing);
}

#[test]
fn a_time_leads_to_the_first_row_since_then_and_in_a_recording_to_that_time() {
    let mut run = Run::busy(6);
    run.press("enter t");
    run.type_line("+0.8s");
    assert_eq!(run.selected(), Some(5));
    run.press("t");
    run.type_line("soon");
    assert!(run.view.prompt.as_ref().is_some_and(|prompt| prompt.wrong.is_some()));
    run.press("esc");
    run.view.play = Some(Play::new(None));
    run.press("t");
    run.type_line("+0.8s");
    assert_eq!(run.view.play.map(|play| play.goal), Some(100_800_000_000));
}

#[test]
fn keys_ask_for_recordings() {
    assert_eq!(Run::lost().press("r"), Effect::Record);
    let mut run = Run::lost();
    assert_eq!(run.press("w"), Effect::Save);
    let processes = run.view.selected(run.view.shown(&run.trace)).processes();
    assert_eq!(processes.into_iter().collect::<Vec<_>>(), [1234]);
}

#[test]
fn a_key_without_a_meaning_changes_nothing() {
    assert_eq!(Run::lost().press("x"), Effect::Nothing);
    assert_eq!(Run::lost().press("c"), Effect::Nothing);
}

#[test]
fn a_click_selects_and_another_one_opens_and_a_tabs_name_leads_there() {
    let mut run = Run::busy(3);
    run.fault(9);
    run.click(10, 6);
    assert_eq!((level(&run), run.selected()), (Level::List, Some(4)));
    run.click(10, 6);
    assert_eq!((level(&run), run.selected()), (Level::One, Some(4)));
    run.click(18, 2);
    assert_eq!(run.view.tab, Tab::Pins);
}

#[test]
fn the_documentation_names_every_key_and_every_field() {
    let text = include_str!("../../../../docs/tui.md");
    for key in Keys::default().rows() {
        assert!(text.contains(&format!("`{}`", key.id)), "{}", key.id);
    }
    for field in Tab::ALL.iter().flat_map(|tab| tab.fields()) {
        assert!(text.contains(&format!("`{}`", field.name())), "{}", field.name());
    }
}

#[test]
fn every_key_of_the_table_does_what_its_row_says() {
    let keys = Keys::default();
    for key in keys.rows() {
        for event in key.events() {
            assert_eq!(keys.action(event), Some(key.action), "{}", key.id);
        }
    }
}
