//! What a promise may be.

/// Reads a promised share of time available, in percent: more than 0, up to 100. Zero promises nothing.
///
/// # Errors
/// It is no such share; what is wrong, to be put behind the name of the field.
pub fn availability(percent: f64) -> Result<Option<f64>, String> {
    // NaN fails both comparisons, and so is refused too.
    if percent == 0.0 {
        Ok(None)
    } else if percent > 0.0 && percent <= 100.0 {
        Ok(Some(percent))
    } else {
        Err(format!("is {percent}; use more than 0, up to 100"))
    }
}

#[cfg(test)]
mod tests {
    use super::availability;

    #[test]
    fn what_can_be_promised_as_a_table() {
        for right in [0.001, 99.9, 100.0] {
            assert_eq!(availability(right), Ok(Some(right)));
        }
        assert_eq!(availability(0.0), Ok(None));
        for wrong in [-1.0, 100.1, f64::INFINITY, f64::NAN] {
            assert_eq!(availability(wrong), Err(format!("is {wrong}; use more than 0, up to 100")));
        }
    }
}
