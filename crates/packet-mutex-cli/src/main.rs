//! The command `packet-mutex`. Everything is in the library beside it.

fn main() -> std::process::ExitCode {
    packet_mutex_cli::run(std::env::args_os()).into()
}
