//! The controller by the second: what each cost, and what is shed then.

use super::*;

/// A per cent of a second.
const BUDGET: u64 = SECOND / 100;

fn controller() -> Controller {
    Controller::new("1%".parse().expect("a share"))
}

/// Seconds that cost what a load would, of which each stage saves a part; what it came to, in per cent of the budget.
fn average(seconds: u64, cost: impl Fn(u64, usize) -> u64) -> u64 {
    let mut controller = controller();
    let mut sum = 0;
    for second in 0..seconds {
        let spent = cost(second, controller.shed());
        controller.measured(spent, SECOND);
        sum += spent;
    }
    sum * 100 / (seconds * BUDGET)
}

#[test]
fn within_the_budget_nothing_is_shed() {
    let mut controller = controller();
    assert!((0..1000).all(|_| controller.measured(BUDGET, SECOND) == 0));
}

#[test]
fn a_flood_sheds_a_stage_a_window_in_order_until_it_fits() {
    let mut controller = controller();
    let shed = |spent| controller.measured(spent, SECOND);
    assert_eq!([7, 8, 1, 1].map(|times| times * BUDGET).map(shed), [1, 2, 2, 2]);
}

#[test]
fn a_short_burst_spends_what_was_saved() {
    let mut controller = controller();
    assert_eq!(controller.measured(5 * BUDGET, SECOND), 0);
    assert_eq!(controller.measured(5 * BUDGET, SECOND), 1, "it is no short one");
}

#[test]
fn nothing_is_shed_beyond_the_last_stage() {
    let mut controller = controller();
    for _ in 0..10 {
        controller.measured(50 * BUDGET, SECOND);
    }
    assert_eq!(controller.shed(), Stage::ALL.len());
    assert!(controller.is_beyond(BUDGET * 12 / 10, SECOND));
    assert!(!controller.is_beyond(BUDGET * 11 / 10, SECOND));
}

#[test]
fn when_the_flood_ends_all_is_taken_up_again_a_stage_at_a_time() {
    let mut controller = controller();
    for _ in 0..5 {
        controller.measured(4 * BUDGET, SECOND);
    }
    let mut steps = vec![controller.shed()];
    for _ in 0..60 {
        let shed = controller.measured(BUDGET / 10, SECOND);
        if steps.last() != Some(&shed) {
            steps.push(shed);
        }
    }
    assert_eq!(steps, [3, 2, 1, 0]);
}

#[test]
fn a_load_at_the_edge_does_not_go_to_and_fro() {
    let mut controller = controller();
    let mut changes = 0;
    for _ in 0..3600 {
        let before = controller.shed();
        // Shed, it takes six tenths of the budget; not shed, a tenth more than that.
        let spent = if before == 0 { BUDGET * 11 / 10 } else { BUDGET * 6 / 10 };
        controller.measured(spent, SECOND);
        changes += usize::from(controller.shed() != before);
    }
    assert_eq!(changes, 1);
}

#[test]
fn over_an_hour_the_cost_is_within_a_tenth_of_the_budget_whatever_comes() {
    let steady = average(3600, |_, shed| [50, 20, 2, 0][shed] * BUDGET + BUDGET / 10);
    let waves = average(3600, |second, shed| {
        let flood = second / 20 % 2 == 0;
        if flood { [30, 10, 3, 0][shed] * BUDGET + BUDGET / 4 } else { BUDGET / 20 }
    });
    for (load, average) in [("steady", steady), ("waves", waves)] {
        assert!(average <= 110, "{load}: {average} % of the budget");
    }
}

#[test]
fn a_share_reads_as_it_is_written() {
    for (text, shown) in [("1%", "1 %"), ("0.5%", "0.5 %"), ("0.25%", "0.25 %"), ("150%", "150 %")]
    {
        assert_eq!(text.parse::<Share>().expect("a share").to_string(), shown);
    }
    for text in ["1", "%", "0%", "-1%", "nan%", "2000%", "1 CPU"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
}

#[test]
fn the_programs_that_end_or_move_pins_are_never_shed() {
    let shed = Program::ALL.iter().filter(|program| sheds(**program).is_some());
    assert!(shed.clone().all(|program| !program.ends_or_moves_pins()));
    // Two programs at one place would have to be attached in their order.
    assert!(shed.clone().all(|program| program.understudy().or(program.stands_in_for()).is_none()));
}

#[test]
fn a_stage_was_shed_since_a_time_unless_that_ended_before() {
    let shed = |times, until| Shed { times, nanos: 0, from: 5, until };
    assert!(shed(1, 0).was_since(100), "it is");
    assert!(shed(1, 100).was_since(100));
    assert!(!shed(1, 99).was_since(100));
    assert!(!shed(0, 0).was_since(0), "it never was");
}

#[test]
fn a_flood_that_goes_on_when_a_stage_is_taken_up_is_met_within_a_window() {
    let mut controller = Controller::new(Share { ppm: 400_000 });
    let second = 1_000_000_000;
    // All that is seen costs 0.6 of a CPU, and without events 0.1.
    let cost = |shed| if shed == 0 { second / 10 * 6 } else { second / 10 };
    let costs: Vec<u64> = (0..60)
        .map(|_| {
            let spent = cost(controller.shed());
            controller.measured(spent, second);
            spent
        })
        .collect();
    let most = costs[12..].windows(8).map(|window| window.iter().sum::<u64>()).max();
    assert!(most.is_some_and(|spent| spent <= 8 * second / 10 * 4), "{costs:?}");
}
