//! Traces, by OpenTelemetry's protocol over HTTP. Off unless an endpoint is named: then no span is made anywhere.
//!
//! The variables of OpenTelemetry's specification hold: `OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`,
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`.
use crate::arm::chain;
use crate::arm::http::{Limits, Proxies, client};
use anyhow::Context as _;
use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// The target of all spans that are parts of traces, and of nothing else: log lines never show them.
pub const TARGET: &str = "trace";

/// A collector stands near by; who is slower than this loses spans, and nothing else waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What is still to be sent when the process stops has so long.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// An answer holds a few words about what was refused.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A part of a trace, with the span that is current as its parent. Without an exporter it costs a load and a branch.
macro_rules! step {
    ($name:literal, parent: $parent:expr $(, $($fields:tt)*)?) => {
        tracing::info_span!(target: $crate::telemetry::traces::TARGET, parent: $parent, $name $(, $($fields)*)?)
    };
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::info_span!(target: $crate::telemetry::traces::TARGET, $name $(, $($fields)*)?)
    };
}
pub(crate) use step;

/// Sends finished spans to a collector.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// Where to, without what could be secret in it.
    pub endpoint: String,
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// What the options and OpenTelemetry's variables come to; none: there are no traces.
    ///
    /// # Errors
    /// An endpoint that is no URL of a collector.
    pub fn of(base: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let said = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let is = |name: &str, value: &str| said(name).is_some_and(|it| it.trim().eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let exact = said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = base.map(str::trim).filter(|base| !base.is_empty());
        let url = match (exact, base) {
            (Some(exact), _) => parsed(&exact, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")?,
            (None, Some(base)) => {
                let mut url = parsed(base, "--otlp-endpoint, OTEL_EXPORTER_OTLP_ENDPOINT")?;
                if let Ok(mut path) = url.path_segments_mut() {
                    path.pop_if_empty().extend(["v1", "traces"]);
                }
                url
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Self(url)))
    }
}

fn parsed(text: &str, named: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // It is not repeated: a URL may hold a password.
    url.with_context(|| format!("{named} is no address of a collector: write http://<host>:4318, or https://"))
}

impl Exporter {
    /// Within a runtime: that is where requests are made.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn new(endpoint: &Endpoint, instance: &str) -> anyhow::Result<Self> {
        let proxies = if endpoint.0.scheme() == "https" { Proxies::FromEnvironment } else { Proxies::Never };
        let limits = Limits { connect: CONNECT_WITHIN, whole: ANSWER_WITHIN };
        let client = client(proxies, &limits).context("no client for the collector of traces could be made")?;
        let client = Client { http: client, runtime: Handle::current(), failing: AtomicBool::new(false) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .with_endpoint(endpoint.0.as_str())
            .build()
            .context("traces cannot be exported (--otlp-endpoint)")?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(instance)).build();
        let tracer = provider.tracer("lanyard");
        Ok(Self { provider, tracer, endpoint: shown(&endpoint.0) })
    }

    /// Takes the spans of traces, and nothing else.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET))
    }

    /// Sends what has ended. It blocks: the runtime must go on meanwhile, on threads of its own.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_WORDS) {
            tracing::debug!(error = chain(&error), "the last spans were not sent");
        }
    }
}

fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

fn resource(instance: &str) -> Resource {
    let named = |name: &str| std::env::var(name).unwrap_or_default();
    let is_named =
        !named("OTEL_SERVICE_NAME").is_empty() || named("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=");
    let resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ]);
    if is_named { resource.build() } else { resource.with_service_name("lanyard").build() }
}

/// The id of the trace that a span belongs to, for log lines; none where there are no traces.
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let id = context.span().span_context().trace_id();
    (id != opentelemetry::trace::TraceId::INVALID).then(|| id.to_string())
}

/// Sends batches. They come from a thread of their own, the requests are made in the runtime.
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    failing: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let answer = self.runtime.spawn(async move { exchange(&http, request).await }).await;
        let answer = answer.map_err(HttpError::from).and_then(|answer| answer);
        match &answer {
            Ok(answer) if answer.status().is_success() => self.works(),
            Ok(answer) => self.fails(&format!("the collector answered {}", answer.status())),
            Err(error) => self.fails(&chain(error.as_ref())),
        }
        answer
    }
}

impl Client {
    /// One line when it begins to fail, and one when it works again.
    fn fails(&self, error: &str) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "traces cannot be exported; spans are lost until they can");
        }
    }

    fn works(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("traces are exported again");
        }
    }
}

async fn exchange(http: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let request = reqwest::Request::try_from(request)?;
    let mut answer = http.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut whole = Response::builder().status(answer.status());
    if let Some(headers) = whole.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        let room = LONGEST_ANSWER.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if room <= chunk.len() {
            break;
        }
    }
    Ok(whole.body(body.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(base: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Endpoint::of(base, variable).expect("a right one").map(|endpoint| endpoint.0.to_string())
    }

    #[test]
    fn traces_are_off_unless_a_collector_is_named() {
        let base = Some("http://collector:4318");
        assert_eq!(of(None, &[]), None);
        assert_eq!(of(Some(" "), &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")]), None);
        assert_eq!(of(base, &[]).as_deref(), Some("http://collector:4318/v1/traces"));
        assert_eq!(of(Some("https://c/otlp/"), &[]).as_deref(), Some("https://c/otlp/v1/traces"));
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:4318/traces");
        assert_eq!(of(base, &[exact]).as_deref(), Some("http://other:4318/traces"));
        assert_eq!(of(base, &[("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(of(base, &[("OTEL_TRACES_EXPORTER", "none")]), None);
    }

    #[test]
    fn what_is_no_collector_is_refused_and_not_repeated() {
        for wrong in ["collector:4318", "user:pa55@", "grpc://user:pa55@collector", "http://"] {
            let error = Endpoint::of(Some(wrong), |_| None).expect_err(wrong).to_string();
            assert!(error.contains("--otlp-endpoint") && error.contains("http://<host>:4318"), "{error}");
            assert!(!error.contains("pa55"), "{error}");
        }
    }

    #[test]
    fn what_is_told_of_an_endpoint_holds_no_secret() {
        let url = Url::parse("https://user:pa55@collector:4318/v1/traces?key=pa55").expect("a URL");
        assert_eq!(shown(&url), "https://collector:4318/v1/traces");
    }
}
