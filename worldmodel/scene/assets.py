"""The files of a scene, carried with it: meshes, height fields, textures and skins."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.runtime.files import write_bytes, write_text

_FOLDERS = ("meshdir", "texturedir", "assetdir", "strippath")


def collect(
    root: ElementTree.Element, spec: mujoco.MjSpec, model: mujoco.MjModel
) -> dict[str, bytes]:
    """The files that an MJCF refers to; it then refers to them by the returned names, in place.

    Args:
      root: the MJCF of ``spec``.
      spec: compiled, with its files at hand: in its ``assets``, or on the disk.
      model: compiled from it.

    Returns:
      Names without folders, each once; files of one name and other content are numbered.

    Raises:
      InputError: a file is at hand no more.
    """
    compiler = root.find("compiler")
    if compiler is not None:
        for name in _FOLDERS:
            compiler.attrib.pop(name, None)
    contents: dict[str, bytes] = {}
    for element, attribute, place in _references(root, spec, model):
        content = _read(spec, element.attrib[attribute], place)
        if attribute == "file" and "name" not in element.attrib:  # MuJoCo names them after it
            element.set("name", PureWindowsPath(element.attrib[attribute]).stem)
        element.set(attribute, _add(contents, element.attrib[attribute], content))
    return contents


def write_mjcf(path: Path | str, mjcf: str, assets: Mapping[str, bytes]) -> None:
    """Writes an MJCF with its files beside it, so that MuJoCo opens it by its path.

    Args:
      path: of the MJCF, in a folder that exists.
      mjcf: text, such as ``Scene.mjcf``.
      assets: ``Scene.assets``; files of the same names are replaced.

    Raises:
      OSError: such as a full disk.
    """
    for name, content in assets.items():
        write_bytes(Path(path).parent / name, content)
    write_text(path, mjcf)


def _references(
    root: ElementTree.Element, spec: mujoco.MjSpec, model: mujoco.MjModel
) -> Iterator[tuple[ElementTree.Element, str, str]]:
    """Each attribute that names a file, and the path at which MuJoCo may have read it."""
    kinds = {
        "asset/mesh": model.mesh_pathadr,
        "asset/hfield": model.hfield_pathadr,
        "asset/texture": model.tex_pathadr,
        "deformable/skin": model.skin_pathadr,
    }
    for kind, addresses in kinds.items():
        for i, (element, address) in enumerate(zip(root.findall(kind), addresses, strict=True)):
            if "file" in element.attrib:
                yield element, "file", _path(model, address)
            for attribute in element.attrib:
                if kind == "asset/texture" and attribute.startswith("file") and len(attribute) > 4:
                    folder = spec.textures[i].compiler.texturedir
                    yield element, attribute, str(Path(folder) / element.attrib[attribute])


def _path(model: mujoco.MjModel, address: int) -> str:
    return model.paths[address:].split(b"\0", 1)[0].decode() if address >= 0 else ""


def _read(spec: mujoco.MjSpec, name: str, place: str) -> bytes:
    """The content of a file: by its path, its name in the MJCF or its bare name among the assets,
    or from the disk."""
    for key in (place, name, PureWindowsPath(name).name):
        if key in spec.assets:
            return bytes(spec.assets[key])
    # MuJoCo states whole paths where the MJCF was opened by a path, relative ones as that was.
    for key in (place, name):
        for path in (Path(spec.modelfiledir) / key, Path(key)):
            if path.is_file():
                return path.read_bytes()
    raise InputError(f"{name} is neither in `assets` nor at {place}")


def _add(contents: dict[str, bytes], name: str, content: bytes) -> str:
    """Adds a file under a bare name that no other content has; returns that name."""
    bare = PureWindowsPath(name)  # which knows both slashes
    taken = {other.lower(): other for other in contents}  # MuJoCo's names know no case
    candidate, number = bare.name, 1
    while (other := taken.get(candidate.lower())) is not None and contents[other] != content:
        number += 1
        candidate = f"{bare.stem}_{number}{bare.suffix}"
    contents.setdefault(other or candidate, content)
    return other or candidate
