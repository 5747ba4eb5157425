//! What the environment of the process says of AWS, under the names that all tools of AWS know.

use std::path::PathBuf;

/// Where the services are and as whom the platform runs. Holds no credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsEnvironment {
    /// Of every service that has none of its own.
    pub endpoint: Option<String>,
    pub secrets_manager_endpoint: Option<String>,
    pub sts_endpoint: Option<String>,
    pub region: Option<String>,
    /// A role that is taken with the token of a web identity, as EKS sets it for a service account.
    pub role_arn: Option<String>,
    pub role_session_name: Option<String>,
    /// Read anew each time, since it is replaced.
    pub web_identity_token_file: Option<PathBuf>,
    /// Of the machine's metadata, by which its role is known.
    pub metadata_endpoint: Option<String>,
}

impl AwsEnvironment {
    /// Reads by a function that knows the variables; an empty one counts as absent.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        Self {
            endpoint: read("AWS_ENDPOINT_URL"),
            secrets_manager_endpoint: read("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
            sts_endpoint: read("AWS_ENDPOINT_URL_STS"),
            region: read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION")),
            role_arn: read("AWS_ROLE_ARN"),
            role_session_name: read("AWS_ROLE_SESSION_NAME"),
            web_identity_token_file: read("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from),
            metadata_endpoint: read("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        }
    }
}
