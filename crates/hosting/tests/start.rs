//! What hosting starts, and what it refuses to start.

use hosting::{Error, Hosting};
use packet_mutex::PacketMutex;
use std::path::PathBuf;

/// A directory that is gone when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hosting-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    fn hosting(&self) -> Hosting {
        Hosting {
            url: "tcp://127.0.0.1:0".into(),
            state: Some(self.0.clone()),
            secret: None,
            ..Hosting::default()
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refused(hosting: Hosting) -> Error {
    hosting.start().expect_err("it is refused")
}

#[test]
fn several_mutexes_stand_behind_one_socket() {
    let place = Directory::new("several");
    let names = vec!["main".to_owned(), "second".to_owned()];
    let hosted = Hosting { mutexes: names, ..place.hosting() }.start().unwrap();
    let client = PacketMutex::connect(&format!("{}#second", hosted.address())).unwrap();
    let _turn = client.acquire("fisher").unwrap();
    assert!(hosted.mutexes()[0].status().holder.is_none());
    assert_eq!(&*hosted.mutexes()[1].status().holder.unwrap().module, "fisher");
    assert_eq!(hosted.page_url(), None);
}

#[test]
fn tokens_go_on_after_a_restart() {
    let place = Directory::new("restart");
    let token = || {
        let hosted = place.hosting().start().unwrap();
        let turn = hosted.mutexes()[0].acquire("fisher").unwrap();
        turn.token().unwrap()
    };
    assert!(token() < token());
}

#[test]
fn each_error_says_what_is_wrong() {
    let place = Directory::new("errors");
    let no_url = refused(Hosting { url: "gopher:".into(), ..place.hosting() });
    assert!(matches!(no_url, Error::Setting(why) if why.starts_with("gopher:: ")));
    let unavailable = |hosting| match refused(hosting) {
        Error::Mutex(packet_mutex::Error::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let taken = place.hosting().start().unwrap();
    assert!(!unavailable(place.hosting()).is_empty(), "another host uses the directory");
    drop(taken);
    let everywhere = Hosting { http: Some("0.0.0.0:0".into()), ..place.hosting() };
    assert!(unavailable(everywhere).contains("PACKET_MUTEX_SECRET"));
    let lease = std::time::Duration::from_millis(1);
    assert!(unavailable(Hosting { lease, ..place.hosting() }).contains("lease"));
    let names = vec!["no name".to_owned()];
    let bad_name = refused(Hosting { mutexes: names, ..place.hosting() });
    assert!(matches!(bad_name, Error::Mutex(packet_mutex::Error::InvalidName(_))));
    // What was refused has left nothing behind that is in the way.
    drop(place.hosting().start().unwrap());
}

#[test]
fn the_secret_is_never_shown() {
    let hosting = Hosting { secret: Some("quite secret".into()), ..Hosting::default() };
    assert!(!format!("{hosting:?}").contains("quite"));
}
