use super::*;
use packet_mutex_arbiter::{
    Answer, Arbiter, DelaySpec, Input, Leave, Limits, Mode, ModuleSpec, NAME_MAX, Output, Request,
    RequestId, RosterSpec, Start, Time,
};
use proptest::prelude::*;
use std::time::Duration;

/// Checks a text's errors, one a line without the file's name. Without any, the text must be right.
#[track_caller]
fn check(text: &str, expected: &str) {
    let found = match from_toml("r", text) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string().replace("\nr:", "\n"),
    };
    let found = found.strip_prefix("r:").unwrap_or(&found);
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "\n{text}");
}

#[track_caller]
fn check_warnings(text: &str, expected: &str) {
    let roster = from_toml("r", text).unwrap();
    let found: Vec<String> = warnings(&roster).iter().map(ToString::to_string).collect();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(found, expected, "\n{text}");
}

#[test]
fn empty_text_is_the_mutex_without_modules() {
    assert_eq!(from_toml("r", "").unwrap().spec(), &RosterSpec::default());
    assert_eq!(from_toml("r", "\u{feff}# nothing\r\n").unwrap().spec(), &RosterSpec::default());
}

#[test]
fn every_key_is_read() {
    let text = r#"
        handover_delay = "2s"
        timeout = "1.5s"
        aging = "250ms"
        strict = true
        starving_after = "off"
        claim_within = "2m"
        limits = { waiters = 1, modules = 0x2, events = 1_000 }
        modules.Fisher = { priority = 255, group = "Fishing", timeout = "0s", handover_delay = "1500ms", longest_turn = "15s", urgent = false, mode = "observed" }
        delays = [{ from = "*", to = "CaveBot", delay = "50us" }]
    "#;
    for key in Section::ALL.into_iter().flat_map(Section::keys) {
        assert!(text.contains(&format!("{} =", key.name)) || key.name == "modules", "{}", key.name);
    }
    let expected = RosterSpec {
        handover_delay: Duration::from_secs(2),
        timeout: Duration::from_millis(1500),
        aging: Some(Duration::from_millis(250)),
        strict: true,
        starving_after: None,
        claim_within: Duration::from_secs(120),
        limits: Limits { waiters: 1, modules: 2, events: 1000 },
        modules: vec![ModuleSpec {
            name: "fisher".into(),
            priority: 255,
            group: Some("fishing".into()),
            timeout: Some(Duration::ZERO),
            handover_delay: Some(Duration::from_millis(1500)),
            longest_turn: Some(Duration::from_secs(15)),
            urgent: false,
            mode: Mode::Observed,
        }],
        delays: vec![DelaySpec {
            from: "*".into(),
            to: "cavebot".into(),
            delay: Duration::from_micros(50),
        }],
    };
    assert_eq!(from_toml("r", text).unwrap().spec(), &expected);
}

#[test]
fn modules_keep_the_order_of_the_file() {
    let roster = from_toml("r", "[modules.z]\n[modules.a]\n[modules.m]\n").unwrap();
    let names: Vec<&str> = roster.spec().modules.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn unknown_keys() {
    check(
        "[modules.fisher]\npriorty = 1",
        "2:1: modules.fisher.priorty: unknown key; did you mean `priority`?",
    );
    check("[module.fisher]", "1:2: module: unknown key; did you mean `modules`?");
    check("[limits]\nwaiter = 1", "2:1: limits.waiter: unknown key; did you mean `waiters`?");
    check("colour = 1", "1:1: colour: unknown key");
    check("\"\\u001b[31m\" = 1", r#"1:1: "\u{1b}[31m": unknown key"#);
    check(
        "[[delays]]\nfrom = \"*\"\nto = \"*\"\ndelay = \"1s\"\nform = 1",
        "5:1: delays[0].form: unknown key; did you mean `from`?",
    );
}

#[test]
fn duplicates() {
    check(
        "[modules.Fisher]\n[modules.fisher]",
        "2:10: modules.fisher: is defined twice, for names ignore case; first in line 1",
    );
    // If the text breaks TOML itself, nothing else is reported.
    for (text, expected) in [
        ("[modules.fisher]\n[modules.fisher]\nx = 1", "2:10: fisher"),
        ("[modules.fisher]\npriority = 1\ngroup = 'x'\npriority = 2", "4:1: priority"),
        ("modules.a.priority = 1\nmodules.a.priority = 2", "2:11: priority"),
        ("[modules]\nx = { priority = 1, priority = 2 }", "2:21: priority"),
    ] {
        check(text, &format!("{expected} is defined twice; remove one of the two"));
    }
    check(
        "[modules.auto-loot]\n[modules.auto_loot]",
        "2:10: modules.auto_loot: differs from `auto-loot` only in `- _ .`; choose a name that stands apart",
    );
    // The first delay cannot be read; the others keep their numbers.
    check(
        "delays = [\n{ from = 'a', to = 'b' },\n{ from = 'a', to = 'b', delay = '1s' },\n{ from = 'A', to = 'b', delay = '2s' }]",
        "2:1: delays[0].delay: is missing
         4:1: delays[2]: is defined twice: an earlier delay has the same `from` and `to`",
    );
}

#[test]
fn priorities() {
    let line = |value| format!("[modules.x]\npriority = {value}");
    for good in ["0", "255", "0xff"] {
        check(&line(good), "");
    }
    let wanted = "a whole number from 0 to 255";
    for (bad, why) in [
        ("-1", "\"-1\" is not"),
        ("256", "256 is not"),
        ("99999999999999999999999999", "99999999999999999999999999 is not"),
        ("1.5", "must be {}, not a float"),
        ("\"high\"", "must be {}, not a string"),
        ("[1]", "must be {}, not an array"),
    ] {
        let why =
            if why.contains("{}") { why.replace("{}", wanted) } else { format!("{why} {wanted}") };
        check(&line(bad), &format!("2:12: modules.x.priority: {why}").replace("\"-1\"", "-1"));
    }
}

#[test]
fn durations() {
    for (text, nanos) in [
        ("1s", 1_000_000_000),
        ("250ms", 250_000_000),
        ("1500ms", 1_500_000_000),
        ("2m", 120_000_000_000),
        ("1.5s", 1_500_000_000),
        ("0.000000001s", 1),
        ("1.50000000000000000000000000s", 1_500_000_000),
        ("0s", 0),
        ("24h", 86_400_000_000_000),
        ("7us", 7_000),
        ("8ns", 8),
    ] {
        let roster = from_toml("r", &format!("timeout = \"{text}\"")).unwrap();
        assert_eq!(roster.spec().timeout, Duration::from_nanos(nanos), "{text}");
    }
    let malformed = "must be a number and a unit, such as \"250ms\", \"1.5s\" or \"2m\"";
    let too_long = "must be at most 24 h";
    for (text, why) in [
        ("30sec", "has an unknown unit; the units are ns, us, ms, s, m and h"),
        ("1 s", "has an unknown unit; the units are ns, us, ms, s, m and h"),
        ("1S", "has an unknown unit; the units are ns, us, ms, s, m and h"),
        ("-1s", "must not be negative"),
        ("24.001h", too_long),
        ("99999999999999999999999h", too_long),
        ("18446744073709551615h", too_long),
        ("0.0000000001s", "is finer than a nanosecond"),
        ("0.00000000000000000000000000000000000000000001s", "is finer than a nanosecond"),
        ("", malformed),
        ("s", malformed),
        (".5s", malformed),
        ("1.s", malformed),
        ("1.2.3s", malformed),
        ("off", malformed),
        ("1e3s", "has an unknown unit; the units are ns, us, ms, s, m and h"),
    ] {
        check(&format!("timeout = \"{text}\""), &format!("1:11: timeout: \"{text}\" {why}"));
    }
    for (number, nanos) in [
        ("5", 5_000_000_000),
        ("0x10", 16_000_000_000),
        ("1.5", 1_500_000_000),
        ("0.1", 100_000_000),
        ("1_0e-3", 10_000_000),
        ("0", 0),
        ("-0.0", 0),
        ("86_400", 86_400_000_000_000),
    ] {
        let roster = from_toml("r", &format!("timeout = {number}")).unwrap();
        assert_eq!(roster.spec().timeout, Duration::from_nanos(nanos), "{number}");
    }
    for (number, why) in [
        ("-30", "must not be negative"),
        ("-inf", "must not be negative"),
        ("-99999999999999999999", "must not be negative"),
        ("nan", "nan is not a number of seconds"),
        ("86401", &format!("86401 {too_long}")),
        ("99999999999999999999", &format!("99999999999999999999 {too_long}")),
        ("1e300", &format!("1e300 {too_long}")),
        ("inf", &format!("inf {too_long}")),
    ] {
        check(&format!("timeout = {number}"), &format!("1:11: timeout: {why}"));
    }
    check("aging = 0", "1:9: aging: must be more than zero");
    check("timeout = true", "1:11: timeout: must be a duration such as \"1.5s\", not a boolean");
}

#[test]
fn zero_and_off_go_where_the_key_table_says() {
    for (section, key) in
        Section::ALL.into_iter().flat_map(|s| s.keys().into_iter().map(move |k| (s, k)))
    {
        let text = |value: &str| match section {
            Section::Delay => format!("delays = [{{ from = 'a', to = 'b', delay = '{value}' }}]"),
            Section::Module => format!("modules.m.{} = '{value}'", key.name),
            _ => format!("{} = '{value}'", key.name),
        };
        if key.value.starts_with("duration") {
            let right = |value: &str| from_toml("r", &text(value)).is_ok();
            assert_eq!(right("0s"), !key.value.contains("above zero"), "{}", key.name);
            assert_eq!(right("off"), key.value.contains("off"), "{}", key.name);
        }
    }
}

#[test]
fn names_and_modes() {
    check(
        "[modules.\"auto loot\"]\npriority = 300",
        "1:10: modules.\"auto loot\": character 5 of the name is \" \"; allowed are a-z 0-9 _ . -
         2:12: modules.\"auto loot\".priority: 300 is not a whole number from 0 to 255",
    );
    check("[modules.\"\"]", "1:10: modules.\"\": a name must not be empty");
    check(
        "[modules.x]\ngroup = \"a b\"",
        "2:9: modules.x.group: character 2 of the name is \" \"; allowed are a-z 0-9 _ . -",
    );
    check(
        "[modules.x]\nmode = \"observe\"",
        "2:8: modules.x.mode: \"observe\" is not a mode; use enforced, observed or off; did you mean `observed`?",
    );
    check(
        "[modules.\"a.b\"]\nurgent = 1",
        "2:10: modules.a.b.urgent: must be true or false, not an integer",
    );
}

#[test]
fn wrong_types() {
    check("modules = 3", "1:11: modules: must be a table, not an integer");
    check("[[modules]]", "1:1: modules: must be a table, not an array");
    check(
        "[modules]\ntimeout = \"1s\"",
        "2:11: modules.timeout: must be a table of settings, not a string",
    );
    check("[delays]", "1:1: delays: must be an array of tables, [[delays]], not a table");
    check(
        "delays = [1]",
        "1:11: delays[0]: must be a table with from, to and delay, not an integer",
    );
    check("limits.waiters = 0", "1:18: limits.waiters: 0 is not a whole number above zero");
    check("strict = \"yes\"", "1:10: strict: must be true or false, not a string");
}

#[test]
fn too_many_modules() {
    check(
        "[limits]\nmodules = 1\n[modules.a]\n[modules.b]",
        "3:2: modules: there are more than 1 modules; raise `limits.modules`",
    );
}

#[test]
fn text_that_is_not_toml_has_one_error() {
    for (text, error) in [
        ("timeout =\nstrict = 5", "1:10: string values must be quoted, expected literal string"),
        ("strict = 5\nnonsense", "2:9: key with no value, expected `=`"),
        ("[modules.x\npriority = 300", "1:11: unclosed table, expected `]`"),
        (
            "claim_within = \"\\q\"\nnonsense",
            "1:18: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`",
        ),
    ] {
        check(text, error);
    }
}

#[test]
fn columns_count_characters() {
    check("\"ä\" = 1\n\"ö\".x = { a = 1 }", "1:1: \"ä\": unknown key\n2:1: \"ö\": unknown key");
    check(
        "timeout = \"1s\" # ä\n# ö\nstrict = 1",
        "3:10: strict: must be true or false, not an integer",
    );
    check("x = \"äöü\", y", "1:10: unexpected key or value, expected newline, `#`");
}

#[test]
fn files_have_a_limit() {
    let text = "#".repeat(FILE_MAX);
    check(&text, "");
    let errors = from_toml("r", &format!("{text}#")).unwrap_err();
    assert_eq!(errors.to_string(), "r: is larger than 256 KiB, the limit for a roster");
}

#[test]
fn fields_have_places() {
    let file = RosterFile::parse("r", "strict = true\n[modules.Fisher]\n priority = 1").unwrap();
    assert_eq!(file.place("modules.fisher.priority"), Some(Place { line: 3, column: 2 }));
    assert_eq!(file.place("timeout"), None);
}

#[test]
fn strict_priorities_lock_out() {
    check_warnings("[modules.a]\n[modules.b]", "");
    check_warnings("[modules.a]\npriority = 9\n[modules.b]\nmode = 'off'", "");
    check_warnings(
        "[modules.a]\npriority = 99\n[modules.b]\n[modules.c]",
        "aging: off, so nothing bounds the wait of b, c: a higher module that keeps asking locks them out",
    );
}

#[test]
fn aging_bounds_waits() {
    let modules = "[modules.a]\npriority = 100\nlongest_turn = '2s'\n[modules.b]\npriority = 0\nlongest_turn = '3s'\n";
    check_warnings(&format!("aging = '200ms'\n{modules}"), "");
    let roster = from_toml("r", &format!("aging = '200ms'\n{modules}")).unwrap();
    assert_eq!(longest_wait(&roster, "a"), Some(Duration::from_secs(3 + 2)));
    assert_eq!(longest_wait(&roster, "b"), Some(Duration::from_secs(20 + 2 + 2)));
    check_warnings(
        &format!("aging = '290ms'\n{modules}"),
        "modules.b: may wait up to 33s, but times out after 30s",
    );
    check_warnings(
        &format!("aging = '300ms'\n{modules}"),
        "modules.b: can be locked out: it overtakes the highest module only after 30s, but times out after 30s",
    );
    check_warnings(
        "aging = '1ms'\n[modules.a]\n[modules.b]\nlongest_turn = '1s'",
        "aging: does not bound any wait until these have a `longest_turn`: a",
    );
}

#[test]
fn delays_of_unknown_groups() {
    let delay = |group: &str| {
        format!(
            "[modules.fisher]\ngroup = 'fishing'\n[[delays]]\nfrom = '*'\nto = '{group}'\ndelay = '1s'"
        )
    };
    check_warnings(&delay("fishing"), "");
    check_warnings(
        &delay("fisher"),
        "delays[0].to: no module is in the group `fisher`; the module `fisher` is in `fishing`",
    );
    check_warnings(
        &delay("fihsing"),
        "delays[0].to: no module is in the group `fihsing`; did you mean `fishing`?",
    );
    check_warnings(
        &delay("cavebot"),
        "delays[0].to: no module is in the group `cavebot`; so it applies only to an unlisted module of that name",
    );
    check_warnings(
        &format!("strict = true\n{}", delay("cavebot")),
        "delays[0].to: no module is in the group `cavebot`; so this delay never applies",
    );
}

/// A file that is full of errors does not take quadratic time.
#[test]
fn many_errors_are_quick() {
    let start = std::time::Instant::now();
    let one_line = format!("delays = [{}]", "1,".repeat(60_000));
    assert_eq!(from_toml("r", &one_line).unwrap_err().errors.len(), 60_000);
    let lines: String = (0..20_000).map(|at| format!("x{at} = 1\n")).collect();
    assert_eq!(from_toml("r", &lines).unwrap_err().errors.len(), 20_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..=86_400_u64).prop_map(Duration::from_secs),
        (1..=86_400_000_u64).prop_map(Duration::from_millis),
        (1..=86_400_000_000_000_u64).prop_map(Duration::from_nanos),
    ]
}

fn any_module() -> impl Strategy<Value = ModuleSpec> {
    let mode = prop_oneof![Just(Mode::Enforced), Just(Mode::Observed), Just(Mode::Off)];
    let durations = (
        prop::option::of(any_duration()),
        prop::option::of(any_duration()),
        prop::option::of(any_duration()),
    );
    let group = prop::option::of("[A-Za-z0-9_.-]{1,8}");
    ("[A-Za-z0-9_.-]{1,12}", any::<u8>(), group, durations, any::<bool>(), mode).prop_map(
        |(name, priority, group, (timeout, handover_delay, longest_turn), urgent, mode)| {
            ModuleSpec {
                name,
                priority,
                group,
                timeout,
                handover_delay,
                longest_turn,
                urgent,
                mode,
            }
        },
    )
}

fn any_spec() -> impl Strategy<Value = RosterSpec> {
    let group = || prop_oneof![Just("*".to_string()), "[A-Za-z0-9_.-]{1,8}"];
    let delay = (group(), group(), any_duration()).prop_map(|(from, to, delay)| DelaySpec {
        from,
        to,
        delay,
    });
    let durations = (
        any_duration(),
        any_duration(),
        prop::option::of(any_duration()),
        prop::option::of(any_duration()),
        any_duration(),
    );
    let limits = (1..=usize::MAX, 8..=usize::MAX, 1..=usize::MAX);
    let modules = prop::collection::vec(any_module(), 0..8);
    (durations, limits, any::<bool>(), modules, prop::collection::vec(delay, 0..5)).prop_map(
        |(durations, (waiters, max_modules, events), strict, modules, delays)| {
            let (handover_delay, timeout, aging, starving_after, claim_within) = durations;
            let limits = Limits { waiters, modules: max_modules, events };
            RosterSpec {
                handover_delay,
                timeout,
                aging,
                strict,
                starving_after,
                claim_within,
                limits,
                modules,
                delays,
            }
        },
    )
}

proptest! {
    #[test]
    fn any_roster_survives_the_round_trip(spec in any_spec()) {
        // Names or pairs that collide do not make a roster.
        if let Ok(roster) = Roster::new(spec) {
            let text = to_toml(&roster);
            prop_assert_eq!(from_toml("r", &text), Ok(roster), "\n{}", text);
        }
    }

    #[test]
    fn any_bytes_give_a_roster_or_errors_with_places(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        look_at(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_toml_like_text_gives_a_roster_or_errors_with_places(text in "([\\[\\]{}=.,\"'\n a-c01#ä]|modules|delays|\\[modules\\.a\\]\n|priority|from|\"1s\"){0,60}") {
        look_at(&text);
    }

    #[test]
    fn any_damage_to_a_roster_gives_a_roster_or_errors_with_places(
        spec in any_spec(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "\\PC{0,3}|[\\[\\]{}=.\"\n]"), 1..4),
    ) {
        let mut text = Roster::new(spec).map_or_else(|_| to_toml(&Roster::default()), |r| to_toml(&r));
        for (from, length, with) in cuts {
            let from = text.floor_char_boundary(from.index(text.len() + 1));
            let to = text.floor_char_boundary(from + length.index(20)).min(text.len());
            text.replace_range(from..to.max(from), &with);
        }
        look_at(&text);
    }
}

proptest! {
    /// Busy modules never wait longer than `longest_wait` says.
    #[test]
    fn the_longest_wait_holds(
        aging in prop::option::of(1..500_u64),
        modules in prop::collection::vec((0..=255_u8, 0..2000_u64, 1..3000_u64, 0..2_u8), 2..5),
        choices in prop::collection::vec((any::<bool>(), 0..1000_u64), 50..400),
    ) {
        let ms = Duration::from_millis;
        let modules = modules.into_iter().enumerate().map(|(at, (priority, delay, longest, group))| {
            ModuleSpec {
                handover_delay: Some(ms(delay)),
                longest_turn: Some(ms(longest)),
                group: (group == 0).then(|| "shared".to_string()),
                ..ModuleSpec::new(&format!("module{at}"), priority)
            }
        });
        let spec = RosterSpec {
            timeout: packet_mutex_arbiter::DURATION_MAX,
            aging: aging.map(ms),
            modules: modules.collect(),
            ..RosterSpec::default()
        };
        let roster = Roster::new(spec).unwrap();
        for (module, waited) in waits(&roster, &choices) {
            let bound = longest_wait(&roster, &module);
            prop_assert!(bound.is_none_or(|bound| waited <= bound), "{module}: {waited:?} > {bound:?}");
        }
    }
}

/// Returns how long modules wait if they ask again at once or soon, with turns of the longest length or a shorter one.
fn waits(roster: &Roster, choices: &[(bool, u64)]) -> Vec<(String, Duration)> {
    let mut arbiter = Arbiter::new(roster.clone(), Start::default());
    let modules = &roster.spec().modules;
    let ids: Vec<_> = modules.iter().map(|m| arbiter.resolve(&m.name).unwrap().module).collect();
    let mut choices = choices.iter().copied();
    // What each module does next: when it happens, and the turn that then ends, if it has one.
    let mut plans: Vec<Option<(Time, Option<RequestId>)>> =
        vec![Some((Time::ZERO, None)); ids.len()];
    let mut waits = Vec::new();
    loop {
        let next = plans.iter().enumerate().filter_map(|(at, plan)| Some((plan.as_ref()?.0, at)));
        let plan = next.min();
        let due = arbiter.poll_timeout().unwrap_or(Time::MAX);
        let (now, input) = match plan {
            Some((now, at)) if now <= due => {
                let Some((full, amount)) = choices.next() else { return waits };
                match plans[at].take().and_then(|(_, hold)| hold) {
                    Some(hold) => {
                        let pause = if full { 0 } else { amount };
                        plans[at] = Some((now + Duration::from_millis(pause), None));
                        (now, Input::End { hold, owner: None, how: Leave::Released })
                    }
                    None => (now, Input::Request(Request::new(arbiter.next_request(), ids[at]))),
                }
            }
            _ => (due, Input::Tick),
        };
        arbiter.handle(now, input).unwrap();
        while let Some(output) = arbiter.poll_output() {
            if let Output::Answer { request, answer: Answer::Turn(grant) } = output {
                let at = ids.iter().position(|id| *id == grant.module).unwrap();
                let longest = modules[at].longest_turn.unwrap();
                let held = match choices.next() {
                    Some((false, amount)) => longest.min(Duration::from_millis(amount)),
                    _ => longest,
                };
                plans[at] = Some((now + held, Some(request)));
                waits.push((modules[at].name.clone(), grant.waited));
            }
        }
    }
}

/// Whatever the text is, nothing panics, and each error has a place in it and a printable message.
fn look_at(text: &str) {
    match RosterFile::parse("r", text) {
        Ok(file) => {
            assert_eq!(from_toml("r", &to_toml(&file.roster)), Ok(file.roster.clone()));
            for warning in warnings(&file.roster) {
                assert!(warning.field == "aging" || file.place(&warning.field).is_some());
            }
        }
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            let lines = text.matches('\n').count() + 1;
            for error in &errors.errors {
                let place = error.place.unwrap();
                assert!(place.line >= 1 && place.line <= lines && place.column >= 1);
                let shown = error.to_string();
                assert!(!shown.chars().any(char::is_control), "{shown:?}");
                assert!(error.field.chars().count() <= 4 * NAME_MAX * 10);
            }
        }
    }
}
