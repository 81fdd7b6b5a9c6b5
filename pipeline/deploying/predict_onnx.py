"""Apply the exported model to images of 8 bits: python predict_onnx.py IMAGE… (NumPy, OpenCV and ONNX Runtime only)."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

HERE = Path(__file__).parent
PREPARE, LABELS = (json.loads((HERE / name).read_text("utf-8")) for name in ("preprocess.json", "labels.json"))


def resize(image, width, height):
    small = min(image.shape[1], width), min(image.shape[0], height)  # what shrinks is averaged, what grows interpolated
    image = cv2.resize(image, small, interpolation=cv2.INTER_AREA) if small != image.shape[1::-1] else image
    return image if small == (width, height) else cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def equalise(image):
    clahe = cv2.createCLAHE(PREPARE["clahe"]["clip"], (PREPARE["clahe"]["tiles"],) * 2)
    if image.ndim == 2:
        return clahe.apply(image)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def prepare(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if image is None or image.dtype != np.uint8:
        raise ValueError("not an image of 8 bits that OpenCV reads")
    grey = PREPARE["channels"] == 1
    image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if grey else cv2.COLOR_BGR2RGB)
    size, aspect, order = (
        PREPARE["size"],
        PREPARE["keep_aspect"],
        PREPARE["clahe"]["enabled"] and PREPARE["clahe"]["order"],
    )
    if aspect == "crop":
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        image = image[top : top + side, left : left + side]
    image = equalise(image) if order == "before_resize" else image
    scale = size / max(image.shape[:2])
    height, width = (max(1, round(n * scale)) for n in image.shape[:2]) if aspect == "pad" else (size, size)
    image = resize(image, width, height)
    image = equalise(image) if order == "after_resize" else image
    square = np.zeros((size, size, *image.shape[2:]), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image
    return (square[None] if grey else square.transpose(2, 0, 1)).astype(np.float32) / 255


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    print("file", *LABELS["classes"], sep="\t")
    for name in sys.argv[1:]:
        images = prepare(Path(name).read_bytes())[None]
        print(name, *session.run(["probabilities"], {"images": images})[0][0], sep="\t")
