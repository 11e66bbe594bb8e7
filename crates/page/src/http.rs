//! The HTTP server: it accepts connections and limits them.

use crate::limits::{CONNECTIONS_MAX, READ_WITHIN, REQUEST_WITHIN};
use crate::routes;
use crate::state::AppState;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 16 * 1024;

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 21\r\n\
    connection: close\r\n\r\nToo many connections\n";

/// Serves until the future is dropped, which closes all connections.
pub(crate) async fn serve(listener: TcpListener, state: Arc<AppState>) {
    let router = routes::router(state);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match (accepted, permits.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, router).await;
                    drop(permit);
                });
            }
            // A new connection has an empty buffer, which takes these few bytes at once.
            (Ok((stream, _)), Err(_)) => drop(stream.try_write(FULL)),
            // Most likely the process is out of file descriptors: a connection has to end first.
            (Err(_), _) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(READ_WITHIN));
    let stream = TokioIo::new(Box::pin(stream));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN).max_buf_size(HEAD_MAX);
    // An error ends this connection only, and its client notices.
    let _ = http.serve_connection(stream, TowerToHyperService::new(router)).await;
}
