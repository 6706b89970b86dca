//! Names of things in the fleet: `orders`, `orders/i-1`, `orders/i-1/database`.

use std::{fmt, str::FromStr};

/// A service, one of its instances, or a component of that.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) service: String,
    /// Empty: the service itself.
    pub(crate) instance: String,
    /// Empty: the instance itself.
    pub(crate) component: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let mut next = || parts.next().map(str::to_owned);
        let (service, instance, component) = (next(), next(), next());
        let wrong = parts.next().is_some()
            || [&service, &instance, &component].iter().any(|part| part.as_deref() == Some(""));
        match service {
            Some(service) if !wrong => Ok(Target {
                service,
                instance: instance.unwrap_or_default(),
                component: component.unwrap_or_default(),
            }),
            _ => Err("write SERVICE, SERVICE/INSTANCE or SERVICE/INSTANCE/COMPONENT".to_owned()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.service)?;
        for part in [&self.instance, &self.component].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}

/// One instance of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InstanceName {
    pub(crate) service: String,
    pub(crate) instance: String,
}

impl FromStr for InstanceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((service, instance))
                if !service.is_empty() && !instance.is_empty() && !instance.contains('/') =>
            {
                Ok(InstanceName { service: service.to_owned(), instance: instance.to_owned() })
            }
            _ => Err("write SERVICE/INSTANCE, for example orders/i-1".to_owned()),
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.instance)
    }
}

/// A service, or one instance of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ServiceOrInstance {
    pub(crate) service: String,
    /// Empty: all of them.
    pub(crate) instance: String,
}

impl FromStr for ServiceOrInstance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Target { service, instance, component }) if component.is_empty() => {
                Ok(ServiceOrInstance { service, instance })
            }
            _ => Err("write SERVICE or SERVICE/INSTANCE".to_owned()),
        }
    }
}

impl fmt::Display for ServiceOrInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.service)?;
        if self.instance.is_empty() { Ok(()) } else { write!(f, "/{}", self.instance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_one_to_three_parts() {
        for good in ["orders", "orders/i-1", "orders/i-1/database", "a/b.c_d-e"] {
            assert_eq!(good.parse::<Target>().unwrap().to_string(), good);
        }
        let target: Target = "orders/i-1/database".parse().unwrap();
        assert_eq!((&*target.service, &*target.instance, &*target.component), ("orders", "i-1", "database"));
        for bad in ["", "/", "orders/", "/i-1", "orders//database", "a/b/c/d", "a/b/c/"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_service_or_an_instance_has_one_or_two_parts() {
        for good in ["orders", "orders/i-1"] {
            assert_eq!(good.parse::<ServiceOrInstance>().unwrap().to_string(), good);
        }
        for bad in ["", "orders/", "/i-1", "orders/i-1/database"] {
            assert!(bad.parse::<ServiceOrInstance>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_instance_has_exactly_two_parts() {
        assert_eq!("orders/i-1".parse::<InstanceName>().unwrap().to_string(), "orders/i-1");
        for bad in ["", "orders", "orders/", "/i-1", "orders/i-1/database"] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad:?}");
        }
    }
}
