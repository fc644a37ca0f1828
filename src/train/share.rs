//! Tensors that two model folders have in common, stored once.

use crate::inference::Digest;
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const WHOLE: &str = "model.safetensors";
const OWN: &str = "own.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What stands before an encoder's tensors in a folder that has a head too.
const PREFIXES: [&str; 2] = ["", "bert."];

/// What a folder holds now.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared {
    /// Tensors that are read from the other folder.
    pub tensors: usize,
    /// Bytes of weights in the folder before and after.
    pub before: usize,
    pub after: usize,
}

/// Takes out of `folder` the tensors that the folder `base` beside it has too, bit for bit, and writes an index that says where they are.
/// Tensors of the encoder are then named as in `base`.
///
/// # Errors
/// When the folders do not lie side by side, either has no `model.safetensors`, or they have no tensor in common. The folder then is as it was.
pub fn share(folder: &Path, base: &Path) -> Result<Shared> {
    let real = |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    let (folder, base) = (real(folder)?, real(base)?);
    ensure!(folder != base, "{} cannot share with itself", folder.display());
    ensure!(folder.parent() == base.parent(), "{} and {} must lie in one folder", folder.display(), base.display());
    let Some(name) = base.file_name().and_then(|name| name.to_str()) else {
        bail!("{} has a name that is no text", base.display())
    };
    let there = format!("../{name}/{WHOLE}");
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (own, other) = (read(&folder.join(WHOLE))?, read(&base.join(WHOLE))?);
    let of = |bytes, path: &Path| SafeTensors::deserialize(bytes).with_context(|| format!("{} is damaged", path.display()));
    let (mine, theirs) = (of(&own, &folder)?, of(&other, &base)?);
    let (prefix, common) = PREFIXES
        .map(|prefix| (prefix, common(&mine, &theirs, prefix)))
        .into_iter()
        .max_by_key(|(_, common)| common.len())
        .unwrap_or_default();
    ensure!(!common.is_empty(), "{} has no tensor that {} has too, bit for bit", folder.display(), base.display());

    let mut map = BTreeMap::new();
    let mut kept: Vec<(String, TensorView<'_>)> = Vec::new();
    for (name, view) in mine.iter() {
        let bare = name.strip_prefix(prefix).unwrap_or(name);
        let file = if common.iter().any(|shared| shared == bare) { there.as_str() } else { OWN };
        ensure!(map.insert(bare.to_owned(), file).is_none(), "{} has two tensors that would be `{bare}`", folder.display());
        if file == OWN {
            kept.push((bare.to_owned(), view));
        }
    }
    let weights = safetensors::serialize(kept, Some([("format".to_owned(), "pt".to_owned())].into()))?;
    let index =
        json!({"metadata": {"sha256": {&there: Digest::of(&other).as_str()}, "total_size": own.len()}, "weight_map": map});
    let write = |file: &str, bytes: &[u8]| {
        let path = folder.join(file);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write(OWN, &weights)?;
    write(INDEX, format!("{index:#}\n").as_bytes())?;
    // Until here the whole file is what is read.
    std::fs::remove_file(folder.join(WHOLE)).with_context(|| format!("cannot remove {WHOLE} of {}", folder.display()))?;
    Ok(Shared { tensors: common.len(), before: own.len(), after: weights.len() })
}

/// The tensors of `theirs` that `mine` has below `prefix`, with the same bytes. One of int8 goes with its scales.
fn common(mine: &SafeTensors<'_>, theirs: &SafeTensors<'_>, prefix: &str) -> Vec<String> {
    let same = |name: &str| match (mine.tensor(&format!("{prefix}{name}")), theirs.tensor(name)) {
        (Ok(a), Ok(b)) => a.dtype() == b.dtype() && a.shape() == b.shape() && a.data() == b.data(),
        _ => false,
    };
    let int8 = |name: &str| theirs.tensor(name).is_ok_and(|view| view.dtype() == Dtype::I8);
    let whole = |name: &&str| match name.strip_suffix(".scale").filter(|of| int8(of)) {
        Some(of) => same(of),
        None => !int8(name) || same(&format!("{name}.scale")),
    };
    theirs.names().into_iter().filter(|name| same(name)).filter(whole).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Weights;

    /// Names, kinds and bytes.
    type Held = Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>;

    fn folder(path: &Path, tensors: &Held) {
        std::fs::create_dir_all(path).unwrap();
        let views = tensors.iter().map(|(name, dtype, dims, data)| (*name, TensorView::new(*dtype, dims.clone(), data).unwrap()));
        safetensors::serialize_to_file(views, None, &path.join(WHOLE)).unwrap();
    }

    fn number(name: &'static str, value: f32) -> (&'static str, Dtype, Vec<usize>, Vec<u8>) {
        (name, Dtype::F32, vec![1], value.to_le_bytes().to_vec())
    }

    fn int8(name: &'static str, bytes: [u8; 2]) -> (&'static str, Dtype, Vec<usize>, Vec<u8>) {
        (name, Dtype::I8, vec![1, 2], bytes.to_vec())
    }

    #[test]
    fn what_two_folders_have_in_common_is_stored_once_and_reads_as_before() {
        let root = tempfile::tempdir().unwrap();
        let (own, base) = (root.path().join("own"), root.path().join("base"));
        folder(
            &base,
            &vec![
                int8("table", [1, 2]),
                number("table.scale", 0.5),
                int8("deep", [3, 4]),
                number("deep.scale", 0.25),
                number("norm", 7.0),
            ],
        );
        // `deep` has the same int8 and another scale; `norm` is another.
        folder(
            &own,
            &vec![
                int8("bert.table", [1, 2]),
                number("bert.table.scale", 0.5),
                int8("bert.deep", [3, 4]),
                number("bert.deep.scale", 0.75),
                number("bert.norm", 8.0),
                number("head", 9.0),
            ],
        );
        let shared = share(&own, &base).unwrap();
        assert_eq!(shared.tensors, 2);
        assert!(shared.after < shared.before && !own.join(WHOLE).exists());
        let weights = Weights::open(&own, None).unwrap();
        let tensors = weights.tensors().unwrap();
        let mut values = Vec::new();
        for (name, shape) in [("table", &[1, 2][..]), ("deep", &[1, 2]), ("norm", &[1]), ("head", &[1])] {
            values.extend(tensors.f32(name, shape).unwrap());
        }
        assert_eq!(values, [0.5, 1.0, 2.25, 3.0, 8.0, 9.0]);
        assert_eq!(tensors.unread(), [""; 0]);
        assert!(format!("{:#}", share(&own, &base).unwrap_err()).contains("cannot read"), "it has no whole file any more");
    }

    #[test]
    fn folders_that_cannot_share_stay_as_they_are() {
        let root = tempfile::tempdir().unwrap();
        let (own, base, far) = (root.path().join("own"), root.path().join("base"), root.path().join("far/base"));
        folder(&own, &vec![number("a", 1.0)]);
        folder(&base, &vec![number("a", 2.0)]);
        folder(&far, &vec![number("a", 1.0)]);
        let said = |base: &Path| format!("{:#}", share(&own, base).unwrap_err());
        assert!(said(&base).contains("no tensor that"), "{}", said(&base));
        assert!(said(&far).contains("must lie in one folder"), "{}", said(&far));
        assert!(said(&own).contains("with itself"), "{}", said(&own));
        assert!(said(&root.path().join("none")).contains("cannot find"));
        assert_eq!(std::fs::read_dir(&own).unwrap().count(), 1);
    }
}
