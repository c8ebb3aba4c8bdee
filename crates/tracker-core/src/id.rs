//! The id of a deployment.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Timestamp, Uuid};

use crate::input_error::{InputError, InputErrorCode};
use crate::time::since_epoch;

/// Creates a UUIDv7. Each is greater than all before it in this process, even if the clock is set back. Unlike
/// [`Uuid::now_v7`], it does not panic if the clock is before 1970.
pub(crate) fn new_uuid() -> Uuid {
    static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let now = since_epoch(SystemTime::now());
    Uuid::new_v7(Timestamp::from_unix(&CONTEXT, now.as_secs(), now.subsec_nanos()))
}

/// The id of a deployment: a UUID, displayed in lower case with hyphens.
///
/// ```
/// use tracker_core::DeploymentId;
///
/// let id = DeploymentId::random();
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub Uuid);

impl DeploymentId {
    /// A new id, for a deployment that has none yet: a random UUID (version 4).
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads a hyphenated UUID in any letter case.
    ///
    /// # Errors
    /// [`InputErrorCode::Id`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok(Self(uuid)),
            _ => Err(InputError {
                field: Some("deployment_id".into()),
                ..InputError::new(
                    InputErrorCode::Id,
                    "`deployment_id` must be a UUID such as 84e803f7-9562-4d95-b828-25b167aea34b",
                )
            }),
        }
    }
}

impl From<Uuid> for DeploymentId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for DeploymentId {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        Self::parse(text)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}
