//! The six in threads of their own, over real TCP.

mod common;

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::StandIn;
use practice::client::Clock;
use practice::modules::{Mode, Module};
use practice::run::{Config, Gate, Outcome, run};
use practice::server::Server;

fn play(server: &Server, epoch: Instant, mode: Mode, seed: u64, seconds: u64) -> Outcome {
    let gate = StandIn::default();
    let config = Config {
        mode,
        server: server.address(),
        clock: Clock { epoch, shared: true },
        length: Duration::from_secs(seconds),
        seed,
    };
    let gate: Option<&dyn Gate> = (mode != Mode::Without).then_some(&gate);
    run(&config, gate, &AtomicBool::new(false)).unwrap()
}

#[test]
#[ignore = "takes minutes; prints the counts of each mode over many seeds"]
fn survey() {
    let epoch = Instant::now();
    let server = Server::start("127.0.0.1:0", epoch).unwrap();
    let mut lines = Vec::new();
    for seeds in [0..10_u64, 10..20] {
        std::thread::scope(|scope| {
            let runs: Vec<_> = seeds
                .flat_map(|seed| Mode::ALL.map(|mode| (seed, mode)))
                .map(|(seed, mode)| {
                    let server = &server;
                    (seed, mode, scope.spawn(move || play(server, epoch, mode, seed, 30)))
                })
                .collect();
            for (seed, mode, run) in runs {
                let Outcome { counts: c, failures, .. } = run.join().unwrap();
                let turns = Module::ALL.map(|module| c.modules[module.name()].turns);
                lines.push(format!(
                    "{:12} {seed:2}  inter {:3} refused {:3} wrong {:2} lost {} made {} failed {:2} fish {} meals {:2} loot {:2} handover {:?} turns {turns:?} {failures:?}",
                    mode.name(), c.interleavings, c.refusals, c.wrong_items, c.weapons_lost, c.runes_made, c.runes_failed, c.fish, c.meals, c.loot, c.min_handover_s,
                ));
            }
        });
    }
    lines.sort();
    std::io::Write::write_all(&mut std::io::stdout(), (lines.join("\n") + "\n").as_bytes())
        .unwrap();
}
