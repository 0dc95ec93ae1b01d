import gzip
import io
import os
import pickle
import shutil
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from poolkit.errors import PoolError
from poolkit.lab.data import KINDS, load, parse
from poolkit.lab.data.pickles import loads


def refused(spec, match, **settings):
    with pytest.raises(PoolError, match=match) as caught:
        load(spec, **settings)
    assert caught.value.do
    return str(caught.value)


def unpacked(archive, folder):
    """The files of an archive by their names."""
    with tarfile.open(archive) as tar:
        return {member.name.split("/")[-1]: tar.extractfile(member).read() for member in tar if member.isfile()}


def test_digits_and_shapes_need_no_file_and_are_the_same_each_time():
    first, again, other = load("shapes:3"), load("shapes:3"), load("shapes:4")
    assert first.digest == again.digest != other.digest
    assert first.task == "segmentation"
    assert first.train.y.shape == (len(first.train), 32, 32)
    digits = load("digits")
    assert len(digits.train) + len(digits.test) == 1797
    assert np.bincount(digits.test.y).min() >= 34


def test_cifar_from_archive_folder_and_binary_are_one(cifar_archive, tmp_path):
    data = load(f"cifar10:{cifar_archive}")
    assert data.train.x.shape[1:] == data.test.x.shape[1:] == (3, 32, 32)
    assert data.train.x.dtype == np.uint8
    assert data.classes[0] == "airplane"
    assert set(data.test.y.tolist()) <= set(range(10))

    folder = tmp_path / "outer" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, content in unpacked(cifar_archive, tmp_path).items():
        (folder / name).write_bytes(content)
    assert load(f"cifar10:{folder}").digest == load(f"cifar10:{folder.parent}").digest == data.digest

    binary = tmp_path / "cifar-10-batches-bin"
    binary.mkdir()
    pixels, labels = (
        np.concatenate([getattr(s, k).reshape(len(s), -1) for s in (data.train, data.test)]) for k in "xy"
    )
    rows = np.hstack([labels.astype(np.uint8), pixels])
    cuts = [len(data.train) * part // 5 for part in range(6)]
    for number in range(5):
        (binary / f"data_batch_{number + 1}.bin").write_bytes(rows[cuts[number] : cuts[number + 1]].tobytes())
    (binary / "test_batch.bin").write_bytes(rows[len(data.train) :].tobytes())
    (binary / "batches.meta.txt").write_text("\n".join(data.classes) + "\n\n")
    assert load(f"cifar10:{binary}").digest == data.digest
    assert load(f"cifar10:{binary}").classes == data.classes

    (binary / "test_batch.bin").write_bytes(rows[: len(data.test)].tobytes()[:-5])
    refused(f"cifar10:{binary}", "ends early")


def test_cifar100_takes_the_fine_labels(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("train", 6), ("test", 3)):
        batch = {
            b"data": rng.integers(0, 256, (count, 3072)).astype(np.uint8),
            b"coarse_labels": [1] * count, b"fine_labels": [97] * count,
        }  # fmt: skip
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    assert load(f"cifar100:{tmp_path}").test.y.tolist() == [97] * 3
    record = bytes([3, 42]) + bytes(3072)
    binary = tmp_path / "binary"
    binary.mkdir()
    (binary / "train.bin").write_bytes(record * 2)
    (binary / "test.bin").write_bytes(record)
    assert load(f"cifar100:{binary}").train.y.tolist() == [42, 42]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97, 0.9999])
def test_a_truncated_archive_is_refused(tiny_archive, tmp_path, share):
    whole = tiny_archive.read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: int(share * len(whole))])
    message = refused(f"cifar10:{cut}", "broken or ends early|are missing")
    assert "cs.toronto.edu" in message


def test_what_is_missing_is_named_with_the_official_address(tiny_archive, tmp_path):
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in refused(
        f"cifar10:{tmp_path}/no", "nothing is at"
    )
    with pytest.raises(PoolError, match="none is given") as caught:
        parse("cifar10")
    assert "cs.toronto.edu" in str(caught.value)
    for name, content in unpacked(tiny_archive, tmp_path).items():
        if name != "data_batch_3":
            (tmp_path / name).write_bytes(content)
    refused(f"cifar10:{tmp_path}", "here data_batch_3 are missing")
    refused(f"mnist:{tmp_path}", "train-images-idx3-ubyte")


def test_links_and_paths_that_climb_out_are_not_followed(tiny_archive, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"not to be read")
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as archive:
        for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(secret)
            archive.addfile(link)
        climber = tarfile.TarInfo("../../climbed")
        climber.size = 3
        archive.addfile(climber, io.BytesIO(b"abc"))
    refused(f"cifar10:{evil}", "are missing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar.gz", "secret"]


class Evil:
    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


HOSTILE = {
    "a call of os.system": Evil(os.system, ("touch poolkit-was-here",)),
    "eval": Evil(eval, ("1",)),
    "numpy, but not an array": Evil(np.load, ("x",)),
    "an array of objects": np.array([{}], dtype=object),
    "a record array": np.zeros(2, dtype=[("a", "i4")]),
    "a masked array": np.ma.masked_array([1, 2]),
    "a set": {1, 2},
    "a hidden attribute": Evil(getattr, ("", "upper")),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_holds_more_than_arrays_is_refused(what, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({b"data": HOSTILE[what], b"labels": [0]}, protocol=protocol)
    with pytest.raises(PoolError, match=r"arrays and plain containers alone|it is broken|can be read"):
        loads("a file", data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4", "?"])
def test_arrays_come_back_as_they_were(protocol, dtype):
    array = np.arange(24).reshape(4, 6).astype(dtype)
    given = {"c": array, "f": np.asfortranarray(array), "list": [1, "text", b"bytes", (2.5, None, True)]}
    found = loads("a file", pickle.dumps(given, protocol=protocol))
    found = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
    for key in "cf":
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype
    assert found["list"] == given["list"]


def test_any_cut_or_flipped_byte_of_a_pickle_is_refused_or_harmless():
    whole = pickle.dumps({b"data": np.arange(300, dtype=np.uint8), b"labels": [1, 2]}, protocol=2)
    refusals = 0
    for place in range(0, len(whole), 3):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            try:
                loads("a file", data)
            except PoolError:
                refusals += 1
    assert refusals > len(whole) // 3


@pytest.mark.parametrize("label", [10, -1, 255])
def test_a_label_out_of_range_is_refused(tiny_archive, tmp_path, label):
    files = unpacked(tiny_archive, tmp_path)
    batch = pickle.loads(files["data_batch_2"])
    batch[b"labels"][1] = label
    files["data_batch_2"] = pickle.dumps(batch, protocol=2)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert "data_batch_2" in refused(f"cifar10:{tmp_path}", "labels are 0 to 9")


def idx(array):
    code = {"uint8": 8}[str(array.dtype)]
    return bytes([0, 0, code, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def test_mnist_plain_and_gzipped(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 28, 28)).astype(np.uint8), np.arange(12, dtype=np.uint8) % 10
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(idx(images))
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[:5])))
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:5]))
    data = load(f"mnist:{tmp_path / 'MNIST'}")
    np.testing.assert_array_equal(data.train.x[:, 0], images)
    assert data.test.y.tolist() == [0, 1, 2, 3, 4]
    assert load(f"fashion:{raw}").classes[9] == "ankle boot"
    for broken, match in (
        (gzip.compress(idx(images[:5]))[:-9], "whole gzip file"),
        (idx(images[:5])[:-1], "cut or damaged"),
        (b"\x00\x00\x08", "begins with 0, 0"),
        (idx(labels), "three axes"),
    ):
        (raw / "t10k-images-idx3-ubyte.gz").write_bytes(broken)
        refused(f"mnist:{raw}", match)
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(idx(images[:4]))
    refused(f"mnist:{raw}", "4 test images and 5 labels")


def test_a_folder_of_pictures(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16 + 4 * (name == "dog"), 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    refused(f"folder:{tmp_path}", "one size, here 16 x 16, 16 x 20")
    data = load(f"folder:{tmp_path}", size=12)
    assert data.train.x.shape == (8, 3, 12, 12)
    assert data.test.y.tolist() == [0, 0, 1, 1]
    assert data.classes == ("cat", "dog")
    split = load(f"folder:{tmp_path / 'train'}", size=12)
    assert (len(split.train), len(split.test)) == (6, 2)
    Image.new("L", (16, 16)).save(tmp_path / "train" / "cat" / "grey.png")
    assert load(f"folder:{tmp_path}", size=12).train.x.shape == (9, 3, 12, 12)
    whole = (tmp_path / "train" / "dog" / "0.png").read_bytes()
    (tmp_path / "train" / "dog" / "0.png").write_bytes(whole[:60])
    refused(f"folder:{tmp_path}", "decoded to its end", size=12)
    shutil.rmtree(tmp_path / "train" / "dog")
    refused(f"folder:{tmp_path}", "at least two classes", size=12)


def test_npz_files(tmp_path):
    path = tmp_path / "data.npz"
    x = np.random.default_rng(0).random((10, 8, 9, 3))
    y = np.arange(10)[:, None] % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    data = load(f"npz:{path}")
    assert data.train.x.shape == (10, 3, 8, 9)
    assert data.test.y.tolist() == [0, 1, 0]
    np.savez(path, x=x[..., 0], y=np.repeat(y[..., None], 8, 1).repeat(9, 2))
    assert load(f"npz:{path}").task == "segmentation"
    for arrays, match in (
        ({"x": x}, "here x$|here x\n"),
        ({"x": x, "y": y.astype(float)}, "labels are integers"),
        ({"x": x, "y": y[:4]}, "10 images and 4 labels"),
        ({"x": x, "y": y - 1}, "here -1"),
        ({"x": np.where(x > 0.5, np.nan, x), "y": y}, "NaN or infinity"),
        ({"x": np.array([{}] * 10), "y": y}, "plain arrays"),
    ):
        np.savez(path, **arrays)
        refused(f"npz:{path}", match)
    path.write_bytes(path.read_bytes()[:-40])
    refused(f"npz:{path}", "whole .npz file")
    refused(f"npz:{tmp_path / 'no.npz'}", "there is none")


def test_a_set_that_hugging_face_saved(tmp_path, python):
    code = f"""
import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as P
rng = np.random.default_rng(0)
pictures = [P.fromarray(rng.integers(0, 256, (10, 10, 3)).astype("uint8")) for _ in range(6)]
kinds = Features({{"img": Image(), "label": ClassLabel(names=["cat", "dog"])}})
rows = Dataset.from_dict({{"img": pictures, "label": [0, 1] * 3}}, features=kinds)
DatasetDict({{"train": rows, "test": rows.select([1, 2])}}).save_to_disk({str(tmp_path / "saved")!r})
from poolkit.lab.data import load
data = load("hf:{tmp_path / "saved"}")
assert data.train.x.shape == (6, 3, 10, 10), data.train.x.shape
assert data.classes == ("cat", "dog") and data.test.y.tolist() == [1, 0]
assert (data.train.x[2] == np.asarray(pictures[2]).transpose(2, 0, 1)).all()
from poolkit.errors import PoolError
try:
    load("hf:{tmp_path}")
except PoolError as error:
    assert "save_to_disk" in str(error)
    print("done")
"""
    done = python(code=code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"))
    assert done.stdout.strip() == "done", done.stderr


def test_without_its_library_the_message_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused(f"hf:{tmp_path}", "not installed")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "cs.toronto.edu" in refused(f"cifar10:{tmp_path}/no", "torchvision is not installed", download=True)

    def breaks(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("poolkit.lab.data.download.importlib.import_module", breaks)
    assert "cs.toronto.edu" in refused(f"cifar10:{tmp_path}/no", "nms does not exist", download=True)


@pytest.mark.parametrize("spec", ["", "cifar", "digits:7", "shapes:x", "shapes:-1", "npz:", "no/such:thing", "x" * 500])
def test_an_unknown_spec_is_refused_before_any_file_is_touched(spec):
    with pytest.raises(PoolError) as caught:
        parse(spec)
    assert max(map(len, str(caught.value).splitlines())) < 300


def test_only_pictures_are_scaled():
    refused("digits", "folder and hf alone", size=16)
    assert "folder" in KINDS
