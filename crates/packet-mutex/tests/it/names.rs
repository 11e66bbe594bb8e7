//! S14, S19: names of modules and of mutexes.

use crate::common::{on_manual_clock, roster, with_roster};
use packet_mutex::{Error, InvalidName, NameError, PacketMutex, Refusal, Roster};

#[test]
fn names_are_folded_and_checked() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("FISHER").unwrap();
    assert_eq!(&**turn.module().name(), "fisher");
    assert_eq!(turn.module(), mutex.module("Fisher").unwrap());
    for bad in ["", "two words", "line\nbreak", "ätz", &"x".repeat(65)] {
        assert!(matches!(mutex.acquire(bad), Err(Error::InvalidName(_))), "{bad:?}");
        assert!(matches!(mutex.module(bad), Err(Error::InvalidName(_))), "{bad:?}");
    }
    let near = mutex.acquire("auto-loot").err();
    let Some(Error::InvalidName(InvalidName::NearMiss { meant, .. })) = near else { panic!() };
    assert_eq!(meant, "auto_loot");
    assert!(mutex.module(&"x".repeat(64)).is_ok());
}

#[test]
fn a_strict_roster_refuses_what_it_does_not_name() {
    let (mutex, _clock) = with_roster(roster(|spec| spec.strict = true));
    let Some(Error::UnknownModule(why)) = mutex.acquire("fishr").err() else { panic!() };
    let NameError::UnknownModule { nearest, .. } = why else { panic!() };
    assert_eq!(nearest.as_deref(), Some("fisher"));
}

#[test]
fn distinct_modules_are_limited() {
    let (mutex, _clock) = with_roster(roster(|spec| spec.limits.modules = 7));
    mutex.acquire("healer").unwrap().decline();
    let refused = Some(Error::Refused(Refusal::TooManyModules { limit: 7 }));
    assert_eq!(mutex.acquire("looter").err(), refused);
    assert_eq!(mutex.module("looter").err(), refused);
    assert!(mutex.acquire("healer").is_ok());
}

#[test]
fn mutexes_are_found_by_their_names() {
    let one = PacketMutex::named("names-one").unwrap();
    let same = PacketMutex::named("NAMES-ONE").unwrap();
    let _turn = one.acquire("fisher").unwrap();
    assert!(same.status().holder.is_some());
    assert!(PacketMutex::named("names-two").unwrap().status().holder.is_none());
    assert!(matches!(PacketMutex::named("no name"), Err(Error::InvalidName(_))));

    let builder = || PacketMutex::builder(Roster::default()).name("Names-One");
    assert_eq!(&**builder().build_named().unwrap().name(), "names-one");
    let other = roster(|spec| {
        spec.strict = true;
        crate::common::module(spec, "eater").priority = 21;
    });
    let differs = PacketMutex::builder(other).name("names-one").build_named().err();
    let fields = ["modules.eater.priority", "strict"].map(String::from).to_vec();
    assert_eq!(differs, Some(Error::RosterDiffers { fields }));
    assert!(matches!(builder().name("a b").build_named(), Err(Error::InvalidName(_))));
}
