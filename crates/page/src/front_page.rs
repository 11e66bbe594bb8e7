//! The page itself: the timeline's, with panels around it.

use crate::state::{AppState, ShownMutex};
use packet_mutex::Mode;
use serde_json::{Value, json};
use timeline::{Inserts, Lane, Report, Run};

/// Returns the page of a mutex. It has no events in it: they come over `/events`.
pub(crate) fn render(shown: &ShownMutex) -> String {
    let name = &**shown.mutex.name();
    let title =
        if name == "main" { "PacketMutex".into() } else { format!("{name} · PacketMutex") };
    let report =
        Report { title, lanes: lanes(shown), runs: vec![Run::new("Lanes")], ..Report::default() };
    timeline::render_live(
        &report,
        &Inserts {
            style: include_str!("page.css"),
            corner: include_str!("corner.html"),
            above: include_str!("above.html"),
            below: include_str!("below.html"),
            script: include_str!("page.js"),
        },
    )
}

/// Returns what the page has to know before the first event.
pub(crate) fn hello(state: &AppState, shown: &ShownMutex, resumed: bool) -> Value {
    let lane =
        |lane: Lane| json!({"module": lane.module, "group": lane.group, "priority": lane.priority});
    let names: Vec<&str> = state.mutexes.iter().map(|shown| &**shown.mutex.name()).collect();
    json!({
        "boot": state.boot,
        "resumed": resumed,
        "mutex": &**shown.mutex.name(),
        "mutexes": names,
        "modes": Mode::ALL.iter().map(|mode| mode.name()).collect::<Vec<_>>(),
        "lanes": lanes(shown).into_iter().map(lane).collect::<Vec<_>>(),
        "steering": state.secret.is_some(),
    })
}

/// Returns the roster's modules, the highest priority first.
fn lanes(shown: &ShownMutex) -> Vec<Lane> {
    let roster = shown.mutex.roster();
    let mut modules: Vec<_> = roster.spec().modules.iter().collect();
    modules.sort_by_key(|module| std::cmp::Reverse(module.priority));
    let lane = |module: &packet_mutex::ModuleSpec| {
        let group = module.group.as_ref().unwrap_or(&module.name);
        Lane::new(&module.name, group, module.priority)
    };
    modules.into_iter().map(lane).collect()
}
