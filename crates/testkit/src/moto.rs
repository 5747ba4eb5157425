//! A double of AWS for tests: Secrets Manager, STS and the addresses at which an instance learns its role, by moto as a
//! process of its own. It keeps no account of rights unless it is asked to.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::ports::free_port_at;
use crate::programs::testbed_service;
use crate::supervisor::{Program, Supervisor};

const MOTO: &str = "moto";
const REGION: &str = "us-east-1";
/// Reads the secret from its input and prints its ARN.
const PUT: &str = "
import base64, boto3, json, sys
order = json.load(sys.stdin)
client = boto3.client('secretsmanager', endpoint_url=order['url'], region_name=order['region'],
                      aws_access_key_id='test', aws_secret_access_key='test')
value = {'SecretString': order['text']} if 'text' in order else {'SecretBinary': base64.b64decode(order['binary'])}
try:
    print(client.create_secret(Name=order['name'], **value)['ARN'])
except client.exceptions.ResourceExistsException:
    print(client.put_secret_value(SecretId=order['name'], **value)['ARN'])
";

/// A running server. Dropping it kills it, and what it knew is gone.
pub struct Moto {
    supervisor: Supervisor,
    environment: PathBuf,
    address: SocketAddr,
}

impl Moto {
    /// Starts one that listens at `address` of this machine.
    pub async fn start(address: IpAddr) -> Result<Self> {
        let mut server = Self {
            supervisor: Supervisor::start(MOTO)?,
            environment: testbed_service(MOTO)?,
            address: SocketAddr::new(address, free_port_at(address)?),
        };
        let port = server.address.port().to_string();
        let program = Program::new(server.environment.join("bin/moto_server")).args([
            "-H".to_owned(),
            address.to_string(),
            "-p".to_owned(),
            port,
        ]);
        server.supervisor.run(MOTO, &program)?;
        server.supervisor.wait_for_listener(MOTO, server.address).await?;
        Ok(server)
    }

    /// Where all of its services are.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Writes a secret, or the next version of it, and answers its ARN.
    pub fn put_secret(&self, name: &str, text: &str) -> Result<String> {
        self.put(&json!({ "url": self.url(), "region": REGION, "name": name, "text": text }).to_string())
    }

    /// The same for a secret that is no text.
    pub fn put_binary_secret(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let binary = STANDARD.encode(bytes);
        self.put(&json!({ "url": self.url(), "region": REGION, "name": name, "binary": binary }).to_string())
    }

    /// Kills the server and returns when it is gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop moto")
    }

    fn put(&self, order: &str) -> Result<String> {
        let mut python = Command::new(self.environment.join("bin/python"));
        python.args(["-c", PUT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut python = python.spawn().context("run Python to write a secret")?;
        let mut stdin = python.stdin.take().context("Python takes no input")?;
        stdin.write_all(order.as_bytes()).context("tell Python the secret")?;
        drop(stdin);
        let output = python.wait_with_output().context("wait for Python to write a secret")?;
        ensure!(output.status.success(), "write a secret: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
