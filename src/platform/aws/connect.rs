//! How AWS is reached: the credentials, and the clients of each region, made when it is first asked for.
//! Knows the SDK's configuration; makes no call but the one that asks who we are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_eks::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use tokio::sync::OnceCell;

use crate::platform::calls::Hook;
use crate::platform::error::{Error, ErrorKind};
use crate::platform::{AwsAccess, AwsIdentity, PROGRAM, in_process};
use clock::Clock;

use super::Clients;
use super::access::{self, SimulatedCall, Simulation, principal_of};
use super::error::AwsCall;
use super::http_client::http_client;
use super::local_credentials;
use super::names::ensure_region;

/// The address in the requests to a server in this process.
const IN_PROCESS_ENDPOINT: &str = "http://aws.simulator";
/// STS must be asked somewhere; without a configured region, where the SDKs' own default is.
const FALLBACK_REGION: &str = "us-east-1";
/// The SDK's own default of 3.1 s is short for a far-away region over a VPN.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One attempt. The slowest answer of these services, a full page of Auto Scaling groups, takes about 2 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// A look with all its attempts: throttling is answered with up to 1 + 2 + 4 + 8 s of back-off.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_READ_ATTEMPTS: u32 = 5;
/// IAM is asked before a run, and a run does not need the answer.
const SIMULATION_TIMEOUT: Duration = Duration::from_secs(5);
/// A program that is told to end has thirty seconds to finish the call in flight and note its receipt.
const WRITE_TIMEOUT: Duration = Duration::from_secs(25);
/// Repeating is safe: every changing call has a client token or sets what may be set twice.
const MAX_WRITE_ATTEMPTS: u32 = 3;
/// A credential process or a role assumed through STS may take its time; the SDK allows 5 s.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);

/// The account, and what is known of the way to it.
pub(in crate::platform) struct AwsAccount {
    access: AwsAccess,
    clock: Clock,
    hook: Hook,
    base: OnceCell<BaseConfig>,
    regions: Mutex<HashMap<String, Arc<Clients>>>,
}

struct BaseConfig {
    config: SdkConfig,
    configured_region: Option<String>,
}

impl AwsAccount {
    pub(in crate::platform) fn new(access: AwsAccess, clock: Clock, hook: Hook) -> Self {
        Self { access, clock, hook, base: OnceCell::new(), regions: Mutex::default() }
    }

    /// The clients of a region.
    pub(in crate::platform) async fn region(&self, region: &str) -> Result<Arc<Clients>, Error> {
        ensure_region(region)?;
        let base = self.base(region).await;
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = regions.get(region) {
            return Ok(Arc::clone(clients));
        }
        let clients = Arc::new(Clients::new(
            region,
            &self.with_limits(&base.config, region, READ_TIMEOUT, MAX_READ_ATTEMPTS),
            &self.with_limits(&base.config, region, WRITE_TIMEOUT, MAX_WRITE_ATTEMPTS),
            &self.hook,
        ));
        regions.insert(region.to_owned(), Arc::clone(&clients));
        Ok(clients)
    }

    /// The caller's identity.
    pub(in crate::platform) async fn identity(&self) -> Result<AwsIdentity, Error> {
        let base = self.base(FALLBACK_REGION).await;
        let configured = base.configured_region.clone();
        let region = configured.as_deref().unwrap_or(FALLBACK_REGION);
        let config = self.with_limits(&base.config, region, READ_TIMEOUT, MAX_READ_ATTEMPTS);
        let call = AwsCall::new("sts", "GetCallerIdentity", "", region);
        let response = super::sts(&config, &self.hook)
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| call.to_error(error))?;
        Ok(AwsIdentity {
            account: call.require(response.account, "account")?,
            arn: call.require(response.arn, "ARN")?,
            region: configured,
        })
    }

    /// Asks IAM whether a caller may make a call.
    ///
    /// # Errors
    /// The caller cannot be simulated, or IAM does not answer. A cluster without a route to the internet reaches IAM
    /// nowhere, so it is not waited for.
    pub(in crate::platform) async fn simulate(
        &self,
        caller: &str,
        region: &str,
        call: &SimulatedCall,
    ) -> Result<Simulation, Error> {
        ensure_region(region)?;
        let Some(principal) = principal_of(caller) else {
            let message = format!("IAM cannot simulate {caller}");
            return Err(Error::access(message, ErrorKind::Invalid));
        };
        let base = self.base(region).await;
        let config = self.with_limits(&base.config, region, SIMULATION_TIMEOUT, 2);
        let client = super::iam(&config, &self.hook);
        access::simulate(&client, &principal, region, call).await
    }

    /// Credentials are found once and shared by all regions. Finding their source reads files and environment only.
    async fn base(&self, region: &str) -> &BaseConfig {
        let fallback = Region::new(region.to_owned());
        self.base
            .get_or_init(|| async {
                match &self.access {
                    AwsAccess::Endpoint { url } => BaseConfig {
                        config: endpoint_config(url.as_str(), fallback, http_client()),
                        configured_region: None,
                    },
                    AwsAccess::InProcess { server } => {
                        let client = in_process::aws_client(server);
                        let config = endpoint_config(IN_PROCESS_ENDPOINT, fallback, client);
                        BaseConfig { config, configured_region: None }
                    }
                    AwsAccess::DefaultChain { profile } => {
                        load_default_chain(profile.as_deref(), fallback).await
                    }
                }
            })
            .await
    }

    /// The SDK takes its time-outs with the same sleep as its back-off. A scaled clock divides both, so the time-outs
    /// are multiplied beforehand: a slow machine is no reason to fail.
    fn with_limits(
        &self,
        base: &SdkConfig,
        region: &str,
        operation_timeout: Duration,
        attempts: u32,
    ) -> SdkConfig {
        let unscaled = |limit: Duration| limit.mul_f64(self.clock.speed());
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(unscaled(CONNECT_TIMEOUT))
            .read_timeout(unscaled(ATTEMPT_TIMEOUT))
            .operation_attempt_timeout(unscaled(ATTEMPT_TIMEOUT))
            .operation_timeout(unscaled(operation_timeout))
            .build();
        let identities = IdentityCache::lazy().load_timeout(unscaled(CREDENTIALS_TIMEOUT)).build();
        base.to_builder()
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::standard().with_max_attempts(attempts))
            .timeout_config(timeouts)
            .sleep_impl(ScaledSleep(self.clock))
            .identity_cache(identities)
            // it measures a body's throughput against the real time; answers here are small and bounded above
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }
}

async fn load_default_chain(profile: Option<&str>, fallback: Region) -> BaseConfig {
    let http = http_client();
    let configured = configured_region(profile).await;
    let region = configured.clone().unwrap_or(fallback);
    let mut loader = aws_config::from_env()
        .http_client(http.clone())
        .app_name(app_name())
        .region(region.clone());
    let sources = ProviderConfig::default().with_http_client(http).with_region(Some(region));
    if let Some(profile) = profile {
        loader =
            loader.profile_name(profile).credentials_provider(named_profile(profile, &sources));
    }
    let mut config = loader.load().await;
    if profile.is_none() {
        config = local_credentials::with_local_credentials(config, &sources);
    }
    BaseConfig { config, configured_region: configured.map(|region| region.to_string()) }
}

/// The environment's, else the profile's. The instance metadata service is not asked: it would cost a laptop
/// seconds, and every call names its region.
async fn configured_region(profile: Option<&str>) -> Option<Region> {
    let mut profile_region = ProfileFileRegionProvider::builder();
    if let Some(profile) = profile {
        profile_region = profile_region.profile_name(profile);
    }
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile_region.build())
        .region()
        .await
        .filter(|region| !region.as_ref().is_empty())
}

/// A profile that was asked for by name goes before credentials in the environment, as for the AWS CLI; in the SDK's
/// chain it would come after them, and the call would reach another account.
fn named_profile(profile: &str, sources: &ProviderConfig) -> ProfileFileCredentialsProvider {
    ProfileFileCredentialsProvider::builder().configure(sources).profile_name(profile).build()
}

fn endpoint_config(url: &str, region: Region, client: SharedHttpClient) -> SdkConfig {
    let credentials = Credentials::new("simulator", "simulator", None, None, "simulator");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(client)
        .app_name(app_name())
        .region(region)
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn app_name() -> AppName {
    AppName::new(PROGRAM).expect("it is made of letters and hyphens")
}

/// The SDK's sleep on the program's clock, so that the speed of a simulation divides the SDK's delays too.
#[derive(Debug)]
struct ScaledSleep(Clock);

impl AsyncSleep for ScaledSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = self.0;
        Sleep::new(async move { clock.sleep(duration).await })
    }
}
