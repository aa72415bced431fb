//! A client that speaks to a simulator as a program would: over TLS, with a token.
#![allow(dead_code, reason = "each test file uses a part of it")]

use arm_simulator::{ArmSimulator, Settings};
use reqwest::{Certificate, Client, Method, Response};
use serde_json::Value;

pub const SUB: &str = "0a0a0a0a-1111-4111-8111-0a0a0a0a0a0a";
pub const API: &str = "2024-07-01";

pub struct Arm {
    pub sim: ArmSimulator,
    pub http: Client,
    pub token: String,
}

/// What an answer was.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub fn operation(&self) -> &str {
        self.header("azure-asyncoperation").expect("an operation's URL")
    }
}

pub async fn got(response: Response) -> Got {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.expect("a whole body");
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Got { status, headers, body }
}

pub fn client(sim: &ArmSimulator) -> Client {
    // Twice is fine: the tests of one file share a process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = Certificate::from_pem(sim.ca_pem().as_bytes()).expect("the CA parses");
    Client::builder().tls_certs_only([ca]).redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

impl Arm {
    pub async fn start(settings: Settings) -> Self {
        let sim = ArmSimulator::start(settings).expect("the simulator starts");
        sim.subscription(SUB);
        let http = client(&sim);
        let mut arm = Self { sim, http, token: String::new() };
        let told = arm.log_in().await;
        told.body["access_token"].as_str().expect("a token").clone_into(&mut arm.token);
        arm
    }

    pub async fn quick() -> Self {
        Self::start(Settings::quick()).await
    }

    pub async fn log_in(&self) -> Got {
        let secret = self.sim.client_secret().to_owned();
        self.log_in_with(self.sim.tenant_id(), &[("client_secret", &secret)]).await
    }

    pub async fn log_in_with(&self, tenant: &str, more: &[(&str, &str)]) -> Got {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.sim.authority_url());
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", self.sim.client_id())
            .append_pair("scope", "https://management.azure.com/.default")
            .extend_pairs(more)
            .finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        got(request.body(form).send().await.expect("Entra ID answers")).await
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{mark}api-version={API}", self.sim.arm_url());
        self.http.request(method, url).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Got {
        got(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    pub async fn get_url(&self, url: &str) -> Got {
        got(self.http.get(url).bearer_auth(&self.token).send().await.expect("an answer")).await
    }

    pub async fn delete(&self, path: &str) -> Got {
        got(self.request(Method::DELETE, path).send().await.expect("an answer")).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Got {
        got(self.request(Method::PUT, path).json(body).send().await.expect("an answer")).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Got {
        got(self.request(Method::PATCH, path).json(body).send().await.expect("an answer")).await
    }

    pub async fn patch_if(&self, etag: &str, path: &str, body: &Value) -> Got {
        let request = self.request(Method::PATCH, path).header("if-match", etag).json(body);
        got(request.send().await.expect("an answer")).await
    }

    /// Polls to the end; gives the last body.
    pub async fn follow(&self, url: &str) -> Value {
        loop {
            let poll = self.get_url(url).await;
            assert_eq!(poll.status, 200, "a poll is always answered 200");
            if poll.body["status"] != "InProgress" {
                return poll.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
