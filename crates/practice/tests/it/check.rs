//! What a practice must show.

use practice::check::{complaints, misfits};
use practice::judge::{Counts, Service};
use practice::logs::Findings;
use practice::modules::Module;

fn run(interleavings: u64, min_handover_s: f64, turns: u64) -> Counts {
    let service = Service { turns, ..Service::default() };
    let modules = Module::ALL.map(|module| (module.name().to_owned(), service.clone()));
    let (min_handover_s, modules) = (Some(min_handover_s), modules.into());
    Counts { interleavings, min_handover_s, modules, ..Counts::default() }
}

#[test]
fn a_run_is_judged_by_all_that_is_promised() {
    let bad = run(7, 0.1, 3);
    assert_eq!(complaints(&bad, &run(0, 1.0, 3)), [""; 0]);
    assert_eq!(complaints(&bad, &run(2, 0.9999, 0)).len(), 8);
    assert_eq!(
        complaints(&run(0, 1.0, 1), &run(0, 1.0, 1)),
        ["nothing went wrong without the mutex"]
    );
    assert_eq!(complaints(&bad, &Counts::default()).len(), 7);
}

#[test]
fn logs_must_fit_together_and_something_be_made() {
    let findings = |misfits: u64, made: u64, without_turn: u64| Findings {
        counts: Counts {
            runes_made: made,
            fish: made,
            loot: made,
            meals: made,
            ..Counts::default()
        },
        unexplained_frames: misfits,
        unseen_sends: misfits,
        without_turn,
        late: misfits,
        not_granted: misfits,
    };
    let without = findings(0, 1, 30);
    let check = |without, with, seconds| misfits(without, &with, seconds).len();
    assert_eq!(check(&without, findings(0, 1, 0), 60), 0);
    assert_eq!(check(&without, findings(1, 1, 1), 60), 5);
    assert_eq!(check(&without, findings(0, 0, 0), 60), 4);
    assert_eq!(check(&without, findings(0, 0, 0), 30), 3);
    assert_eq!(check(&findings(1, 1, 1), findings(0, 1, 0), 60), 4);
}
