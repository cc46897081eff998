//! From everything that was said to the settings in force.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use hostnic_cni::contract::DEFAULT_SOCKET;
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::id::InvalidValue;
use hostnic_core::pool::PoolConfig;

use super::error::{Refused, SettingsError};
use super::file::{self, ConfigFile};
use super::invocation::Invocation;
use super::key::{Key, SPECS, capitals};
use super::layer::Layer;
use super::listen::{ListenAddress, Written};
use super::notice::Notice;
use super::personality::Personality;
use super::provider::Provider;
use super::reading::Reading;
use super::source::{Setting, Source};
use super::zone::ZoneChoice;
use super::{DEFAULT_STORE, LogFormat, LogLevel, Settings, environment};

/// The longest that an address may be told to rest, in seconds.
const LONGEST_COOLING: u64 = 24 * 60 * 60;
/// The ports of the earlier daemons.
const COMMANDS: u16 = 31080;
const MANAGE: u16 = 31081;

/// The settings in force, and what a person should hear about them.
///
/// Reads nothing but its arguments: `file` is the one that was found at [`Invocation::places`]. Values that a later source
/// has replaced are not looked at.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn resolve(
    invocation: &Invocation,
    file: Option<&ConfigFile>,
) -> Result<(Settings, Vec<Notice>), Refused> {
    let (mut errors, mut notices) = (Vec::new(), Vec::new());
    let personality = personality(invocation, file, &mut notices).unwrap_or_else(|error| {
        errors.push(error);
        Personality::Own
    });
    let mut given = Layer::default();
    if let Some(file) = file {
        given.overlay(file::read(file, personality, &mut errors, &mut notices));
    }
    given.overlay(environment::read(&invocation.environment, &mut errors, &mut notices));
    given.overlay(invocation.flags.read(&mut errors, &mut notices));
    if personality == Personality::Own {
        notices.extend(bare_variables(&given));
    }
    let mut reading = Reading::new(&given, personality);
    let settings = settings(&mut reading, file.map(|file| file.path.clone()));
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

fn settings(reading: &mut Reading<'_>, file: Option<PathBuf>) -> Settings {
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
    Settings {
        personality,
        file,
        provider: reading.parsed(Key::Provider, Provider::QingCloud),
        access_file: reading.one(Key::AccessFile, None, |text| path(text).map(Some)),
        zone: reading.one(Key::Zone, last_resort, |text| text.parse().map(ZoneChoice::Given)),
        vxnets: reading.subnets(),
        instance: reading.open(Key::Instance),
        socket: reading.one(Key::Socket, DEFAULT_SOCKET.into(), path),
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
        log_level: reading.parsed(Key::LogLevel, LogLevel::info()),
        log_format: reading.one(Key::LogFormat, LogFormat::Text, log_format),
    }
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
            let told = !matches!(source, Source::Default { of: Personality::Own });
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

fn boolean(text: &str) -> Result<bool, InvalidValue> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Ok(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Ok(false),
        _ => Err(InvalidValue::new("switch", text, "true or false")),
    }
}

fn count(text: &str) -> Result<u32, InvalidValue> {
    let valid = text.parse().ok().filter(|count| *count <= 1000);
    valid.ok_or_else(|| InvalidValue::new("number of NICs", text, "a whole number from 0 to 1000"))
}

fn nics(text: &str) -> Result<u32, InvalidValue> {
    let valid = text.parse().ok().filter(|count| (1..=PoolConfig::NIC_LIMIT).contains(count));
    valid.ok_or_else(|| InvalidValue::new("largest number of NICs", text, "a whole number from 1 to 63"))
}

fn cooling(text: &str) -> Result<Duration, InvalidValue> {
    let valid = text.parse().ok().filter(|seconds| *seconds <= LONGEST_COOLING);
    let rule = "a whole number of seconds from 0 to 86400";
    valid.map(Duration::from_secs).ok_or_else(|| InvalidValue::new("cooling time", text, rule))
}

fn path(text: &str) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(InvalidValue::new("path", text, "the path of a file"));
    }
    Ok(PathBuf::from(text))
}

fn gateway_name(text: &str) -> Result<String, InvalidValue> {
    let config = GatewayConfig { name: text.to_owned(), ..GatewayConfig::new() };
    config.validate()?;
    Ok(config.name)
}

fn log_format(text: &str) -> Result<LogFormat, InvalidValue> {
    LogFormat::from_str(text, false).map_err(|_| InvalidValue::new("log format", text, "text or json"))
}
