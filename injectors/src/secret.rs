//! Secrets by reference: `{ env = "NAME" }` or `{ file = "/path" }`, never a literal.
//!
//! A reference is what configurations, ledgers and reports may hold; the value appears only in a
//! [`SecretString`], whose `Debug` is redacted. A secret file that other users may read is refused,
//! because a secret that leaked yesterday is not one today.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Names a secret without holding it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SecretRef {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file of mode 0600 or stricter; one trailing newline is dropped.
    File(PathBuf),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "environment variable {name}"),
            SecretRef::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Why a reference could not be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable {name} is not set; export it or use {{ file = \"...\" }}")]
    Unset {
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read secret file {path}: {source}")]
    Unreadable {
        /// The path as configured.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error("secret file {path} has mode {mode:04o}; run `chmod 600 {path}`")]
    TooOpen {
        /// The path as configured.
        path: String,
        /// The permission bits found.
        mode: u32,
    },
    /// The secret is empty.
    #[error("the secret in {from} is empty")]
    Empty {
        /// The reference in words.
        from: String,
    },
}

impl SecretRef {
    /// Follows the reference.
    pub fn resolve(&self) -> Result<SecretString, SecretError> {
        let text = match self {
            SecretRef::Env(name) => {
                std::env::var(name).map_err(|_| SecretError::Unset { name: name.clone() })?
            }
            SecretRef::File(path) => read_private(path)?,
        };
        let text = text.strip_suffix('\n').map(str::to_owned).unwrap_or(text);
        let text = text.strip_suffix('\r').map(str::to_owned).unwrap_or(text);
        if text.is_empty() {
            return Err(SecretError::Empty { from: self.to_string() });
        }
        Ok(SecretString::from(text))
    }
}

/// Reads a file that only its owner may read.
pub fn read_private(path: &std::path::Path) -> Result<String, SecretError> {
    use std::os::unix::fs::PermissionsExt;
    let unreadable = |source| SecretError::Unreadable { path: path.display().to_string(), source };
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::TooOpen { path: path.display().to_string(), mode });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
