//! What a process must have left, in a record.

use std::num::NonZeroU64;

use seaworthy_client::protect::resources::{Ceiling, CpuShare};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourcesForm {
    max_memory_bytes: Option<NonZeroU64>,
    max_cpu: Option<f64>,
    operation_memory_bytes: Option<NonZeroU64>,
}

impl From<&Ceiling> for ResourcesForm {
    fn from(ceiling: &Ceiling) -> Self {
        Self {
            max_memory_bytes: ceiling.memory(),
            max_cpu: ceiling.cpu().map(CpuShare::get),
            operation_memory_bytes: ceiling.operation(),
        }
    }
}

impl ResourcesForm {
    pub(super) fn ceiling(self) -> Result<Ceiling, String> {
        let cpu = self.max_cpu.map(CpuShare::new).transpose().map_err(|invalid| invalid.to_string())?;
        let (memory, operation) = (self.max_memory_bytes, self.operation_memory_bytes);
        Ceiling::new(memory, cpu, operation).map_err(|invalid| invalid.to_string())
    }
}
