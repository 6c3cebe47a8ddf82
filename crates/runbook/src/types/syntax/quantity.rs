//! Quantities of resources, as Kubernetes reads them.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

/// The suffixes of decimal and of binary multiples.
const SUFFIXES: [&str; 15] =
    ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi"];

/// Whether a text is a number with a suffix or an exponent: `500m`, `1.5Gi`, `1e3`.
pub(super) fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let is_number = number.bytes().any(|b| b.is_ascii_digit())
        && number.bytes().filter(|b| *b == b'.').count() <= 1;
    let is_exponent = || {
        let digits = suffix.strip_prefix(['e', 'E'])?;
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        Some(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number && (SUFFIXES.contains(&suffix) || suffix == "Ei" || is_exponent() == Some(true))
}

/// Returns the amount of a quantity.
pub(crate) fn quantity(text: &str) -> Option<f64> {
    if !is_quantity(text) {
        return None;
    }
    let is_number = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let end = text.find(|c: char| !is_number(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        exponent => return format!("1{exponent}").parse().ok().map(|one: f64| number * one),
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::{is_quantity, quantity};

    #[test]
    fn amounts_are_comparable() {
        for (less, more) in [("500m", "1"), ("1G", "1Gi"), ("1023Mi", "1Gi"), ("1e3", "2k")] {
            assert!(quantity(less) < quantity(more), "{less} {more}");
        }
        assert_eq!(quantity("1Gi"), quantity("1024Mi"));
        assert_eq!(quantity("half"), None);
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for good in ["1", "500m", "1.5", "2Gi", "1e3", "100M", ".5", "-1"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1gb", "1GB", "1 Gi", "500 m", "1.2.3", "1e", "half", "512MB"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
