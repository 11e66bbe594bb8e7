//! A terminal that a test can type in and look at: a tmux server of its own.

use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A shell in a terminal. Its tmux server ends with it.
pub(crate) struct Tmux {
    /// For the test's own files too.
    pub(crate) directory: TempDir,
}

impl Tmux {
    /// `None`, and it is said: there is no tmux here.
    #[allow(clippy::print_stderr, reason = "for the reader of the test's output")]
    pub(crate) fn new(width: u16, height: u16) -> Option<Tmux> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: there is no tmux");
            return None;
        }
        let tmux = Tmux { directory: tempfile::tempdir().unwrap() };
        let (width, height) = (width.to_string(), height.to_string());
        let shell = "env -u ENV -u NO_COLOR PS1='$ ' sh";
        tmux.ask(&["new-session", "-d", "-x", &width, "-y", &height, shell]);
        tmux.until("a prompt", |screen| screen.starts_with('$'));
        Some(tmux)
    }

    fn call(&self, args: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.path().join("tmux"));
        command.args(["-f", "/dev/null", "-u"]).args(args);
        command.output().unwrap()
    }

    /// Calls tmux, which must succeed, and returns what it says.
    #[track_caller]
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types a line into the shell.
    pub(crate) fn line(&self, line: &str) {
        self.ask(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    pub(crate) fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows something.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.screen();
            if shows(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "no {what} on the screen:\n{screen}");
            sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub(crate) fn until_shown(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits for the end of a command that was typed with `; echo code $?` behind it, and looks whether the terminal is
    /// as it was before.
    #[track_caller]
    pub(crate) fn is_as_before(&self, code: &str) -> String {
        let told = format!("code {code}\n");
        let screen = self.until("prompt after the end", |screen| {
            screen.contains(&told) && screen.trim_end().ends_with('$')
        });
        assert_eq!(self.ask(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]), "0 1\n");
        self.line("clear; stty -a");
        let modes = self.until_shown("icanon");
        for mode in [" icanon", " echo ", " isig", " icrnl", " opost"] {
            assert!(modes.replace('\n', " ").contains(mode), "{mode}: {modes}");
        }
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.call(&["kill-server"]);
    }
}
