//! Listening, and how many may come in.

use crate::{CONNECTIONS_MAX, House, READ_WITHIN, REQUEST_WITHIN, routes};
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

/// The most of a request's head that is kept in memory.
const HEAD_MAX: usize = 16 * 1024;

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 21\r\n\
    connection: close\r\n\r\nToo many connections\n";

/// Serves until the future is dropped, which closes all connections.
pub(crate) async fn serve(listener: TcpListener, house: Arc<House>) {
    let router = routes::router(house);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match (accepted, room.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            // A connection that was just made takes these few bytes at once.
            (Ok((stream, _)), Err(_)) => drop(stream.try_write(FULL)),
            // Out of file descriptors, most likely: some connection has to end first.
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
    // How a connection ends is nobody's concern but the client's.
    let _ = http.serve_connection(stream, TowerToHyperService::new(router)).await;
}
