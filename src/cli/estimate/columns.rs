//! Which column means what, and what a cell of it says.

use crate::exit::Failure;
use crate::report::escape::terminal as safe;

/// What a column can mean, with the names under which it is found unasked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Time,
    Event,
    Lower,
    Upper,
    Start,
    Stop,
    Group,
    Stratum,
    Cause,
    Outcome,
}

impl Role {
    pub(super) const ALL: [Role; 10] = [
        Role::Time,
        Role::Event,
        Role::Lower,
        Role::Upper,
        Role::Start,
        Role::Stop,
        Role::Group,
        Role::Stratum,
        Role::Cause,
        Role::Outcome,
    ];

    pub(super) fn option(self) -> &'static str {
        match self {
            Role::Time => "--time",
            Role::Event => "--event",
            Role::Lower => "--lower",
            Role::Upper => "--upper",
            Role::Start => "--start",
            Role::Stop => "--stop",
            Role::Group => "--group",
            Role::Stratum => "--stratum",
            Role::Cause => "--cause",
            Role::Outcome => "--outcome",
        }
    }

    /// Lower case, joined by underscores. `attackStart` and `detectionTime` are VECTR's; `time-start`
    /// is ATTiRe's. VECTR's `attackStop` and ATTiRe's `time-stop` end the attack, not its
    /// detection, and stand for nothing unasked.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Role::Time => &["time", "duration", "ttd", "time_to_detect", "t"],
            Role::Event => &["event", "status", "detected", "observed", "e"],
            Role::Lower => &["lower", "lo", "left", "l"],
            Role::Upper => &["upper", "hi", "right", "r"],
            Role::Start => &["start", "attackstart", "attack_start", "time_start", "submitted_at"],
            Role::Stop => &["detectiontime", "detection_time", "detected_at", "stop"],
            Role::Group => &["group", "arm"],
            Role::Stratum => &["stratum", "strata"],
            Role::Cause => &["cause"],
            Role::Outcome => &["outcome"],
        }
    }

    /// Whether a column of this name would be taken for it unasked.
    pub(super) fn takes(self, name: &str) -> bool {
        let plain = name.trim().to_lowercase().replace(['-', ' '], "_");
        self.usual().contains(&plain.as_str())
    }
}

/// The index of a column: the named one, or the only one of a usual name. Of two that could be meant
/// none is chosen: another column gives other numbers.
pub(super) fn find(
    role: Role,
    asked: Option<&str>,
    header: &[String],
) -> Result<Option<usize>, Failure> {
    let Some(name) = asked else {
        let mut usual = (0..header.len()).filter(|i| role.takes(&header[*i]));
        let first = usual.next();
        if let (Some(first), Some(second)) = (first, usual.next()) {
            let (option, both) = (role.option(), [first, second].map(|i| header[i].clone()));
            let both = listed(&both);
            return Err(Failure::User(format!(
                "line 1: {both} could each be it; name one with {option}"
            )));
        }
        return Ok(first);
    };
    let exact = header.iter().position(|column| column == name);
    match exact.or_else(|| header.iter().position(|column| column.eq_ignore_ascii_case(name))) {
        Some(index) => Ok(Some(index)),
        None => Err(unknown(role.option(), name, header)),
    }
}

fn unknown(option: &str, name: &str, header: &[String]) -> Failure {
    let near = header
        .iter()
        .map(|column| (strsim::damerau_levenshtein(column, name), column))
        .min()
        .filter(|(distance, _)| *distance <= name.len().div_ceil(2))
        .map_or(".".to_owned(), |(_, column)| format!("; did you mean `{}`?", safe(column)));
    Failure::User(format!(
        "line 1: {option} names column `{}`, which is not there{near} The columns are {}",
        safe(name),
        listed(header)
    ))
}

/// `a`, `b` and so on, at most a dozen.
pub(super) fn listed(header: &[String]) -> String {
    let shown: Vec<String> =
        header.iter().take(12).map(|name| format!("`{}`", safe(name))).collect();
    let more = if header.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// What a number of a duration column counts.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Unit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Minutes.
    Min,
    /// Hours.
    H,
    /// Days of 24 hours.
    D,
}

impl Unit {
    pub(super) fn ns(self) -> f64 {
        match self {
            Unit::Ns => 1.0,
            Unit::Us => 1e3,
            Unit::Ms => 1e6,
            Unit::S => 1e9,
            Unit::Min => 60e9,
            Unit::H => 3_600e9,
            Unit::D => 86_400e9,
        }
    }
}

/// True for what people write where there is no value.
pub(super) fn absent(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "" | "na" | "n/a" | "null" | "none" | "-")
}

/// A duration in nanoseconds and fractions of one.
pub(super) fn duration(text: &str, unit: Unit) -> Result<f64, String> {
    let shown = safe(text);
    if absent(text) {
        return Err("a duration is missing".to_owned());
    }
    let number: f64 = text.parse().map_err(|_| format!("`{shown}` is no number{}", spelt(text)))?;
    if number.is_nan() || number.is_infinite() {
        return Err(format!("`{shown}` is no duration"));
    }
    if number < 0.0 {
        return Err(format!("`{shown}` is negative"));
    }
    let ns = fifteen_digits(text, number) * unit.ns();
    // Half of the range, so that sums stay within it: 292 years.
    if ns >= i64::MAX as f64 {
        return Err(format!("`{shown}` is longer than 292 years; is --unit right?"));
    }
    Ok(ns)
}

/// What to do about a number that other programs write otherwise; nothing is guessed, since `1,500` is a
/// thousand and a half in one country and one and a half in another.
fn spelt(text: &str) -> &'static str {
    let comma =
        text.contains(',') && text.bytes().all(|b| b.is_ascii_digit() || b",.-".contains(&b));
    let clock = text.contains(':') || text.starts_with(['P', 'p']);
    match (comma, clock) {
        (true, _) => "; write a decimal point and no other separator, like 1.5 or 1500",
        (_, true) => "; write durations as numbers and say what they count with --unit",
        _ => "",
    }
}

/// A double carries fifteen decimal digits: what is written behind them is the dust of somebody's
/// subtraction, and would part times that are the same.
fn fifteen_digits(text: &str, number: f64) -> f64 {
    let written = text.bytes().filter(u8::is_ascii_digit).count();
    // A whole number is nobody's difference.
    match written > 15 && text.contains(['.', 'e', 'E']) {
        true => format!("{number:.14e}").parse().unwrap_or(number),
        false => number,
    }
}

/// Whether the event came.
pub(super) fn event(text: &str, wanted: Option<&str>) -> Result<bool, String> {
    if absent(text) {
        return Err("whether the event came is missing".to_owned());
    }
    if let Some(wanted) = wanted {
        return Ok(text == wanted);
    }
    match text.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" | "yes" | "y" | "detected" | "event" => Ok(true),
        "0" | "0.0" | "false" | "no" | "n" | "censored" | "missed" | "undetected" => Ok(false),
        _ => Err(format!(
            "`{}` is neither 1 nor 0; say what stands for an event with --event-value",
            safe(text)
        )),
    }
}

/// An instant in nanoseconds since 1970: RFC 3339, or an epoch in s, ms, µs or ns by its size.
pub(super) fn instant(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("`{}` is no instant: write RFC 3339 with its zone, or an epoch", safe(text));
    if let Ok(number) = text.parse::<f64>() {
        if !number.is_finite() || number < 0.0 {
            return Err(wrong());
        }
        let scale = match number {
            n if n < 1e11 => 1_000_000_000.0,
            n if n < 1e14 => 1e6,
            n if n < 1e17 => 1e3,
            _ => 1.0,
        };
        let whole = text.parse::<i64>().ok().and_then(|n| n.checked_mul(scale as i64));
        let ns = whole.unwrap_or((number * scale).round() as i64);
        return if ns == i64::MAX { Err(wrong()) } else { Ok(ns) };
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    i64::try_from(at.as_nanosecond()).map_err(|_| wrong())
}
