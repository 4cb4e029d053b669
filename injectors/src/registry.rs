//! Every transport by name. Stub: the owner of this module writes the real one.

use serde::{Deserialize, Serialize};

/// Settings of a transport, tagged by `type`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InjectorSettings {
    /// Writes to standard output.
    Stdout {},
}
