//! From everything that was said to the settings in force.

use std::time::Duration;

use hostnic_cni::contract::DEFAULT_SOCKET;
use hostnic_core::id::SubnetId;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;

use super::cni_template::CniTemplate;
use super::error::{Refused, SettingsError};
use super::file::{self, ConfigFile, Files};
use super::guide;
use super::invocation::Invocation;
use super::key::{Key, SPECS, capitals};
use super::kubernetes::KubernetesSettings;
use super::layer::Layer;
use super::listen::{ListenAddress, Written};
use super::notice::Notice;
use super::personality::Personality;
use super::provider::Provider;
use super::reading::Reading;
use super::source::{Setting, Source};
use super::values::{
    boolean, cooling, count, free_period, gateway_name, job_poll, log_format, nics, node_sync, path, tag,
};
use super::veth::{ModeChoice, VethSettings, pod_type};
use super::zone::ZoneChoice;
use super::{DEFAULT_STORE, LogFormat, LogLevel, Settings, environment};

/// The ports of the earlier daemons.
const COMMANDS: u16 = 31080;
const MANAGE: u16 = 31081;

/// The settings in force, and what a person should hear about them.
///
/// Reads nothing but its arguments: `files` are those that were found at [`Invocation::places`]. Values that a later source
/// has replaced are not looked at.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn resolve(invocation: &Invocation, files: &Files) -> Result<(Settings, Vec<Notice>), Refused> {
    let file = files.settings.as_ref();
    let (mut errors, mut notices) = (Vec::new(), Vec::new());
    let personality = personality(invocation, file, &mut notices).unwrap_or_else(|error| {
        errors.push(error);
        Personality::Own
    });
    let mut given = Layer::default();
    if let Some(file) = file {
        given.overlay(file::read(file, personality, &mut errors, &mut notices));
    }
    if let Some(network) = &files.network {
        let said = guide::read_network(network, &mut errors, &mut notices);
        errors.extend(given.join(said));
    }
    given.overlay(environment::read(&invocation.environment, &mut errors, &mut notices));
    given.overlay(invocation.flags.read(&mut errors, &mut notices));
    if personality == Personality::Own {
        notices.extend(bare_variables(&given));
    }
    let mut reading = Reading::new(&given, personality);
    let settings = settings(&mut reading, files);
    errors.append(&mut reading.errors);
    notices.append(&mut reading.notices);
    if errors.is_empty() { Ok((settings, notices)) } else { Err(Refused { errors, notices }) }
}

/// As what to behave, and a word about it where nobody said so outright.
fn personality(
    invocation: &Invocation,
    file: Option<&ConfigFile>,
    notices: &mut Vec<Notice>,
) -> Result<Personality, SettingsError> {
    let of_file =
        || file.and_then(|file| Some((Personality::of_file(&file.path)?, file.path.display().to_string())));
    let (personality, because) = match invocation.personality()? {
        Some(chosen) => chosen,
        None => of_file().map_or((Personality::Own, None), |(personality, file)| (personality, Some(file))),
    };
    notices.extend(because.map(|because| Notice::Behaves { personality, because }));
    Ok(personality)
}

/// The earlier programs' variables have names that anything might have set, so that whoever does not know them hears it.
fn bare_variables(given: &Layer) -> Vec<Notice> {
    let bare = |source: &Source| match source {
        Source::Environment { variable } => SPECS
            .iter()
            .any(|spec| spec.earlier.iter().any(|s| capitals(s.text) == *variable))
            .then(|| variable.clone()),
        _ => None,
    };
    let notice = |(key, source)| Some(Notice::BareVariable { variable: bare(source)?, ours: Key::name(key) });
    given.iter().map(|(key, given)| (key, &given.source)).filter_map(notice).collect()
}

fn settings(reading: &mut Reading<'_>, files: &Files) -> Settings {
    let personality = reading.personality;
    let zone = |name: &str| name.parse().ok();
    let last_resort = ZoneChoice::OfAccessFile { otherwise: personality.zone().and_then(zone) };
    let iface = personality.iface().and_then(|name| name.parse().ok());
    let allow_remote = reading.one(Key::AllowRemote, false, boolean);
    let bind_default = personality.listens().then_some(COMMANDS);
    let bind_addr = listen(reading, Key::BindAddr, COMMANDS, bind_default);
    reading.errors.extend(remote(&bind_addr, allow_remote.value));
    let manage_addr = listen(reading, Key::ManageAddr, MANAGE, Some(MANAGE));
    reading.errors.extend(same_address(&bind_addr, &manage_addr));
    let max_nics = reading.one(Key::MaxNics, PoolConfig::NIC_LIMIT, nics);
    let (pool_low, pool_high) = marks(reading);
    if pool_low.value > max_nics.value {
        let (low, max) = (pool_low.value, max_nics.value);
        reading.notices.push(Notice::PoolTooLarge { origin: pool_low.source.clone(), low, max });
    }
    let kubernetes = KubernetesSettings::read(reading);
    let (mode, veth) = (reading.parsed(Key::Mode, ModeChoice::Auto), VethSettings::read(reading));
    if reading.source(Key::ServiceCidr).is_none() {
        reading.errors.extend(no_services(mode.value, kubernetes.enabled.value));
    }
    let socket = reading.one(Key::Socket, DEFAULT_SOCKET.into(), path);
    let cni = CniTemplate::read(files.network.as_ref(), &socket.value, &mut reading.errors);
    let free_period = reading.one(Key::FreePeriod, Duration::from_secs(720 * 60), free_period);
    if free_period.is_given() {
        reading.notices.push(Notice::NotYet { origin: free_period.source.clone() });
    }
    Settings {
        personality,
        file: files.settings.as_ref().map(|file| file.path.clone()),
        cni,
        provider: reading.parsed(Key::Provider, Provider::QingCloud),
        access_file: reading.one(Key::AccessFile, None, |text| path(text).map(Some)),
        zone: reading.one(Key::Zone, last_resort, |text| text.parse().map(ZoneChoice::Given)),
        vxnets: reading.list(Key::Vxnet, str::parse::<SubnetId>),
        instance: reading.open(Key::Instance),
        socket,
        store: reading.one(Key::Store, DEFAULT_STORE.into(), path),
        bind_addr,
        manage_addr,
        allow_remote,
        pool_low,
        pool_high,
        max_nics,
        policy: reading.parsed(Key::Policy, personality.policy()),
        cooling: reading.one(Key::Cooling, Duration::from_secs(60), cooling),
        cleanup_cache_on_exit: reading.one(Key::CleanupCacheOnExit, false, boolean),
        iface: reading.one(Key::Iface, iface, |text| text.parse().map(Some)),
        gateway_name: reading.one(Key::GatewayName, "hostnic".to_owned(), gateway_name),
        mode,
        pod_type: reading.one(Key::PodType, None, |text| pod_type(text).map(Some)),
        veth,
        job_poll: reading.one(Key::JobPoll, Duration::from_secs(3), job_poll),
        node_sync: reading.one(Key::NodeSync, Duration::from_secs(60), node_sync),
        nic_tag: reading.one(Key::NicTag, None, |text| tag(text).map(Some)),
        free_period,
        kubernetes,
        log_level: reading.parsed(Key::LogLevel, LogLevel::info()),
        log_format: reading.one(Key::LogFormat, LogFormat::Text, log_format),
        log_file: reading.one(Key::LogFile, None, |text| path(text).map(Some)),
    }
}

/// Without the addresses of services pods behind veths reach none, and they are no node's to guess. A cluster may tell them.
fn no_services(mode: ModeChoice, kubernetes: bool) -> Option<SettingsError> {
    let because = match mode {
        ModeChoice::Only(Datapath::Veth) if !kubernetes => "veth mode",
        ModeChoice::Only(Datapath::Shared) if !kubernetes => {
            "mode shared, which is for nodes of Kubernetes only (--kubernetes)"
        }
        ModeChoice::Only(_) | ModeChoice::Auto => return None,
    };
    let example = "the addresses of the cluster's services, as in \"serviceCIDR\": \"10.96.0.0/12\" in hostnic-cni.json \
                   or --service-cidr 10.96.0.0/12";
    Some(SettingsError::Missing { key: "serviceCIDR (service-cidr)", because, example })
}

/// The two marks of the pool. `pool-size` stands for both in the source where it is given.
fn marks(reading: &mut Reading<'_>) -> (Setting<u32>, Setting<u32>) {
    let size = reading.one(Key::PoolSize, None, |text| count(text).map(Some));
    let low = reading.one(Key::PoolLow, None, |text| count(text).map(Some));
    let high = reading.one(Key::PoolHigh, None, |text| count(text).map(Some));
    for mark in [Key::PoolLow, Key::PoolHigh] {
        if let (Some(size), Some(mark)) = (reading.source(Key::PoolSize), reading.source(mark))
            && size.rank() == mark.rank()
        {
            reading.errors.push(SettingsError::Twice { first: size.clone(), second: mark.clone() });
        }
    }
    let of_size = |more: u32| Setting {
        value: size.value.map(|size| size.saturating_add(more)),
        source: size.source.clone(),
    };
    let later = |mark: Setting<Option<u32>>, more| {
        if mark.source.rank() >= size.source.rank() { mark } else { of_size(more) }
    };
    let (low, high) = (later(low, 0), later(high, 2));
    // A mark that nobody gave goes along with the one that somebody did.
    let low_value = low.value.unwrap_or_else(|| high.value.map_or(3, |high| high.min(3)));
    let high_value = high.value.unwrap_or_else(|| low_value.saturating_add(2));
    if low_value > high_value {
        reading.errors.push(SettingsError::Marks {
            low: low_value,
            low_from: low.source.clone(),
            high: high_value,
            high_from: high.source.clone(),
        });
    }
    (Setting { value: low_value, source: low.source }, Setting { value: high_value, source: high.source })
}

/// An address to listen at, `default` being the port where nobody gave one. One without a host is on loopback, and
/// those who knew the earlier programs, which were on all addresses then, are told so.
fn listen(
    reading: &mut Reading<'_>,
    key: Key,
    port: u16,
    default: Option<u16>,
) -> Setting<Option<ListenAddress>> {
    let default = default.map(|port| Written::Bare(ListenAddress::loopback(port)));
    let written = reading.one(key, default, |text| match text {
        "off" | "false" => Ok(None),
        text => Written::parse(text, port).map(Some),
    });
    let Setting { value, source } = written;
    let value = match value {
        Some(Written::Bare(address)) => {
            let told = !matches!(source, Source::Default { of: Personality::Own | Personality::Node });
            if told {
                let (origin, address) = (source.clone(), address.clone());
                reading.notices.push(Notice::OnLoopback { key: key.name(), origin, address });
            }
            Some(address)
        }
        Some(Written::Spelled(address)) => Some(address),
        None => None,
    };
    Setting { value, source }
}

/// Commands are taken from other machines only where that was asked for.
fn remote(bind: &Setting<Option<ListenAddress>>, allowed: bool) -> Option<SettingsError> {
    let address = bind.value.as_ref().filter(|address| address.is_loopback() == Some(false) && !allowed)?;
    let works = bind.source.line(&ListenAddress::loopback(address.port).to_string());
    Some(SettingsError::Remote { origin: bind.source.clone(), address: address.clone(), works })
}

/// Two listeners cannot have one address. One that nobody asked for gives way when it is bound.
fn same_address(
    bind: &Setting<Option<ListenAddress>>,
    manage: &Setting<Option<ListenAddress>>,
) -> Option<SettingsError> {
    let address = bind.value.clone().filter(|address| address.port != 0 && manage.is_given())?;
    (manage.value.as_ref() == Some(&address)).then(|| SettingsError::SameAddress {
        bind: bind.source.clone(),
        manage: manage.source.clone(),
        address: address.into(),
    })
}
