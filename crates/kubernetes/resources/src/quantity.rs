//! Reads a quantity as Kubernetes writes them, exactly.

/// What the API server takes for one.
pub(crate) const PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

pub(crate) const BILLION: i128 = 1_000_000_000;

/// In billionths. None for what is no quantity, or too large or too fine to be one of a node.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(whole) || !is_plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let decimals = u32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.checked_mul(billionths(unit)?)?;
    // What is finer than a billionth counts as one, as it does for Kubernetes.
    let divisor = 10_i128.checked_pow(decimals)?;
    let rounded = scaled / divisor + i128::from(scaled % divisor != 0);
    Some(sign * rounded)
}

fn billionths(unit: &str) -> Option<i128> {
    let binary = |power: u32| 1024_i128.checked_pow(power)?.checked_mul(BILLION);
    let decimal = |power: u32| 1000_i128.checked_pow(power)?.checked_mul(BILLION);
    match unit {
        "n" => Some(1),
        "u" => Some(1000),
        "m" => Some(1_000_000),
        "" => Some(BILLION),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(exponent) {
                Ok(exponent) => 10_i128.checked_pow(exponent)?.checked_mul(BILLION),
                Err(_) => BILLION.checked_div(10_i128.checked_pow(exponent.unsigned_abs())?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let check = |text: &str, expected: Option<i128>| assert_eq!(parse(text), expected, "{text}");
        check("1", Some(BILLION));
        check("500m", Some(BILLION / 2));
        check("0.5", Some(BILLION / 2));
        check(".5", Some(BILLION / 2));
        check("1.", Some(BILLION));
        check("+2", Some(2 * BILLION));
        check("-2", Some(-2 * BILLION));
        check("1k", Some(1000 * BILLION));
        check("1Ki", Some(1024 * BILLION));
        check("1.5Gi", Some(3 * 512 * 1024 * 1024 * BILLION));
        check("8Ei", Some(8 * 1024_i128.pow(6) * BILLION));
        check("2e3", Some(2000 * BILLION));
        check("2E3", Some(2000 * BILLION));
        check("2e-3", Some(BILLION / 500));
        check("3n", Some(3));
        check("0.1n", Some(1));
        for text in ["", "-", ".", "m", "1 Gi", "1Gib", "1.2.3", "1e", "1e1.5", "--1", "1-1", "1e99", "K"] {
            check(text, None);
        }
    }
}
