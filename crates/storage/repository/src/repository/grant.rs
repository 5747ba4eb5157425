//! Letting others read a repository: its data keys, wrapped once more for whoever holds a grant.

use keelson_crypto::{DataKey, GrantKey, OpenBoxError, Sha256};
use keelson_model::{Classified, ErrorClass};
use keelson_store::{PutOptions, StoreError, StoreExt, StorePath};

use super::{Open, Repository};
use crate::format::DecodeError;
use crate::format::key_file::KeyFile;

/// A data key could not be granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The folder leaves no room for the name.
    #[error("name a granted key in '{folder}'")]
    Name {
        /// Which.
        folder: StorePath,
        /// Why not.
        source: keelson_store::ParsePathError,
    },
    /// What may be there already could not be read.
    #[error("read granted key '{path}'")]
    Read {
        /// Which.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// It could not be written.
    #[error("write granted key '{path}'")]
    Write {
        /// Which.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// What is there is no key file.
    #[error("granted key '{path}' is damaged")]
    Decode {
        /// Which.
        path: StorePath,
        /// Why not.
        source: DecodeError,
    },
    /// What is there does not lead to this key.
    #[error("granted key '{path}' was put there by somebody else")]
    Foreign {
        /// Which.
        path: StorePath,
        /// What it failed by, where it named this grant.
        source: Option<OpenBoxError>,
    },
}

impl Classified for GrantError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Name { .. } => ErrorClass::Invalid,
            Self::Read { source, .. } | Self::Write { source, .. } => source.class(),
            Self::Decode { .. } | Self::Foreign { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "repository.grant.name",
            Self::Read { source, .. } | Self::Write { source, .. } => source.code(),
            Self::Decode { source, .. } => source.code(),
            Self::Foreign { .. } => "repository.grant.foreign",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source.hint(),
            Self::Name { .. } | Self::Decode { .. } | Self::Foreign { .. } => None,
        }
    }
}

impl Repository<Open> {
    /// Lets whoever holds the grant open this repository to read, by [`super::Unlock::Granted`] and the same folder.
    ///
    /// Guarantees: each data key at hand is there afterwards; what an earlier call wrote is kept. A key that comes later
    /// is granted by a later call.
    pub async fn grant(&self, grant: &GrantKey, folder: &StorePath) -> Result<(), GrantError> {
        for key in self.keyring().iter() {
            let path = folder.join(&key.number().to_string());
            let path = path.map_err(|source| GrantError::Name { folder: folder.clone(), source })?;
            if !self.is_granted(grant, key, &path).await? {
                self.write_granted(grant, key, path).await?;
            }
        }
        Ok(())
    }

    async fn is_granted(
        &self,
        grant: &GrantKey,
        key: &DataKey,
        path: &StorePath,
    ) -> Result<bool, GrantError> {
        let there = self.store().fetch_if_present(path).await;
        let there = there.map_err(|source| GrantError::Read { path: path.clone(), source })?;
        let Some(bytes) = there else { return Ok(false) };
        let file =
            KeyFile::decode(&bytes).map_err(|source| GrantError::Decode { path: path.clone(), source })?;
        let wrapping = grant.vault_key(key.number());
        let is_meant = file.repository == self.id()
            && file.number == key.number()
            && file.vault == wrapping.fingerprint();
        if !is_meant {
            return Err(GrantError::Foreign { path: path.clone(), source: None });
        }
        let opened = DataKey::unwrap(&wrapping, self.id(), &self.bound_to(), &file.data_key);
        opened.map_err(|source| GrantError::Foreign { path: path.clone(), source: Some(source) })?;
        Ok(true)
    }

    async fn write_granted(
        &self,
        grant: &GrantKey,
        key: &DataKey,
        path: StorePath,
    ) -> Result<(), GrantError> {
        let wrapping = grant.vault_key(key.number());
        let file = KeyFile {
            repository: self.id(),
            number: key.number(),
            vault: wrapping.fingerprint(),
            data_key: key.wrap(&wrapping, &self.bound_to()),
            previous_vault_key: None,
        };
        match self.store().put(&path, file.encode().into(), PutOptions::create()).await {
            Ok(_) => Ok(()),
            // Another export of the same application was a moment faster.
            Err(StoreError::AlreadyExists { .. }) => self.is_granted(grant, key, &path).await.map(drop),
            Err(source) => Err(GrantError::Write { path, source }),
        }
    }

    /// A data key opens only beside the format that it was made with.
    fn bound_to(&self) -> Sha256 {
        Sha256::of(&self.core().summary.encode())
    }
}
