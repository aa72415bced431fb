//! One accept loop for every door: TLS or not, HTTP/1.1, and the power to hang up without an answer.
//!
//! That power is why this sits on hyper itself: a router always answers.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Answer, Call, Listener, Reply, routes::percent_decoded};

pub type Replying = Pin<Box<dyn Future<Output = Reply> + Send>>;
pub type Handler = Arc<dyn Fn(Call) -> Replying + Send + Sync>;

/// Serves until dropped; its connections end with it.
pub async fn serve(door: Listener, listener: TcpListener, tls: Option<TlsAcceptor>, handler: Handler) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: a short pause lets some be closed.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Without it a small answer waits 40 ms for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let (tls, handler) = (tls.clone(), handler.clone());
        connections.spawn(async move {
            match tls {
                None => converse(door, stream, handler).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(door, stream, handler).await;
                    }
                }
            }
        });
    }
}

async fn converse<S>(door: Listener, stream: S, handler: Handler)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { answer(door, request, handler).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(512 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(ended) = connection.await {
        tracing::debug!(?door, %ended, "connection ended");
    }
}

async fn answer(door: Listener, request: Request<Incoming>, handler: Handler) -> Result<Response<Cuttable>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let call = Call {
        listener: door,
        method: head.method,
        path: percent_decoded(head.uri.path()),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    // A task of its own: what a caller asked for happens even if the caller leaves.
    match tokio::spawn(handler(call)).await {
        Ok(Reply::Answer(answer)) => Ok(response(answer)),
        Ok(Reply::Reset) | Err(_) => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    }
}

fn response(answer: Answer) -> Response<Cuttable> {
    let length = answer.body.len();
    let body = if answer.cut { Cuttable::cut(&answer.body) } else { Cuttable::whole(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    if answer.cut {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// A body that may end before its time.
struct Cuttable {
    data: Option<Bytes>,
    /// Some: after the data comes a pause, so that it leaves, and then the connection breaks.
    breaks: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Cuttable {
    fn whole(data: Bytes) -> Self {
        Self { data: (!data.is_empty()).then_some(data), breaks: None }
    }

    fn cut(data: &Bytes) -> Self {
        Self {
            data: Some(data.slice(..data.len() / 2)),
            breaks: Some(Box::pin(tokio::time::sleep(Duration::from_millis(30)))),
        }
    }
}

impl Body for Cuttable {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut self.breaks {
            None => Poll::Ready(None),
            Some(pause) => pause.as_mut().poll(cx).map(|()| Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.data, &self.breaks) {
            (Some(data), None) => SizeHint::with_exact(data.len() as u64),
            (None, None) => SizeHint::with_exact(0),
            (_, Some(_)) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.breaks.is_none()
    }
}
