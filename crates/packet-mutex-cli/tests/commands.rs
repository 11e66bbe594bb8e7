//! The command as a user meets it.

/// `TRYCMD=overwrite cargo test -p packet-mutex-cli` takes over what the command now says.
#[test]
fn commands_say_what_is_written_down() {
    trycmd::TestCases::new().case("tests/cmd/*.md").case("tests/cmd/*.toml");
}
