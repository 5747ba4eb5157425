//! What an error number of the kernel means for a location.

use rustix::io::Errno;

use super::pool::Call;
use crate::{Place, StoreError};

impl Call {
    /// An error on the location's own directory.
    pub(super) fn root_fault(&self, errno: Errno) -> StoreError {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => StoreError::MissingLocation {
                operation: self.operation,
                location: self.location.to_string(),
                place: Place::Directory,
                source: Some(errno.into()),
            },
            other => self.fault(other),
        }
    }

    /// An error on something in it. `NOENT` and `NOTDIR` have a meaning of their own for every operation: they are
    /// looked at before.
    pub(super) fn fault(&self, errno: Errno) -> StoreError {
        let (operation, path, location) = (self.operation, self.path.clone(), self.location.to_string());
        let source = errno.into();
        match errno {
            Errno::NOENT => StoreError::NotFound { operation, path },
            Errno::NOTDIR | Errno::ISDIR => StoreError::MixKeyAndFolder { operation, path },
            Errno::ROFS => StoreError::ReadOnly { operation, path, location, source },
            Errno::NOSPC | Errno::DQUOT => StoreError::Full { operation, path, location, source },
            Errno::ACCESS | Errno::PERM => StoreError::Forbidden { operation, path, location, source },
            Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ | Errno::LOOP | Errno::FBIG => {
                StoreError::Refused { operation, path, location, source }
            }
            Errno::STALE => StoreError::Stale { operation, path, location, source },
            _ => StoreError::Transfer { operation, path, location, source },
        }
    }
}
