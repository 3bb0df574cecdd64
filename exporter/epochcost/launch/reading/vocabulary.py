"""The words by which lines are classified: what names an epoch, a step, an evaluation, a beginning, an end.

Data, not code: a word that is missing is added here.
"""

from __future__ import annotations

import re

EPOCH = (
    r"(?:epoch[es]?|epochs|epoche|epochen|époque|[eé]poca|epok|epoka|epocha|epokk|эпох[аиуе]?|епох[аиу]?|devir"
    r"|エポック|에폭|에포크|轮次|轮|世代|纪元|訓練輪次|回合|الحقبة|حقبة)"
)
STEP = (
    r"(?:global[_ ]?step|mini-?batch|batch(?:es)?|steps?|iter(?:ation)?s?|it|updates?|num_updates|lots|schritt"
    r"|шаг|étape|paso|passo|ステップ|步|批次|batch_idx)"
)

NUMBERED = re.compile(
    rf"(?<![A-Za-z0-9_./-])(?:(?P<before>\d{{1,9}})\s{{0,2}}/\s{{0,2}}(?P<before_total>\d{{1,9}})\s{{1,2}}\*\s{{1,2}})?"
    rf"{EPOCH}(?:\s?(?:nr|no|num|number|idx|index|№|thứ)\b\.?)?(?:\s?\((?P<role>[a-z]{{1,12}})\))?"
    rf"(?:\.{{2,3}}|…)?[\s:\uff1a=#\[(<\"'|_-]{{0,8}}(?P<number>\d{{1,9}})(?![\d]|\.\d|[eE]-?\d)"
    rf"(?:\s{{0,4}}(?:/|\bof\b|\bvon\b|\bde\b|\bsur\b|\bиз\b|\bout of\b)\s{{0,4}}(?P<total>\d{{1,9}})(?![\d.]\d))?",
    re.IGNORECASE,
)
"""``Epoch 3/10``, ``epoch: [3]``, ``Epoch(train) [3]``, ``EPOCH 3 of 10``."""
COUNTED = re.compile(
    r"第\s{0,2}\[?(?P<number>\d{1,9})\s{0,2}(?:/\s{0,2}(?P<total>\d{1,9}))?\]?\s{0,2}(?:个|個)?\s{0,2}"
    r"(?:轮次?|輪|回合|世代|周期|エポック|epoch)",
    re.IGNORECASE,
)
"""``第 3/10 轮``: the number before the word."""
FRACTION = re.compile(
    rf"(?<![\w.-]){EPOCH}\b[\s:=\[(\"']{{0,6}}(?P<position>\d{{1,9}}\.(?P<decimals>\d{{1,17}}))(?![\d.])", re.IGNORECASE
)
"""``epoch 1.25``."""

NAMED_STEP = re.compile(
    rf"(?<![A-Za-z_/]){STEP}(?![A-Za-z])[\s:\uff1a=#(\[\"']{{0,10}}(?P<step>\d{{1,15}})(?![\d.]{{0,20}}(?:[eE%]|[mun]?s\b)|\.?\d)"
    rf"(?:\s{{0,4}}(?:/|of)\s{{0,4}}(?P<steps>\d{{1,15}}))?",
    re.IGNORECASE,
)
"""``Step [10/40]``, ``Batch 10``, ``iter: 10/40``."""
BARE_STEP = re.compile(
    r"(?<![\d/.:-])(?P<step>\d{1,15})\s{0,6}/\s{0,6}(?P<steps>\d{1,15})(?![\d/.:]|[-]\d)"
    r"(?P<named>\]?\s{1,4}(?:batch(?:es)?|steps?|it(?:er(?:ation)?s?)?)\b)?"
)
"""``[ 10/40]`` behind the epoch's number."""
PERCENT = re.compile(r"(?<![\d.])(?P<percent>\d{1,3}(?:\.\d{1,4})?)\s?%")
GRAPHIC = re.compile(r"[█━=#▇▓■▏▎▍▌▋▊▉]{3,}|[\[(]\s?\d{1,3}%|[\[(|][█━=#>.\-·░▒ ]{5,200}[\])|]")
"""A bar, or a share in brackets: progress in per cent."""

EVALUATION = re.compile(
    r"(?<![A-Za-z])(?:eval\w{0,8}|valid\w{0,8}|val|test\w{0,8}|dev|predict\w{0,8}|infer\w{0,8}|sanity|scor\w{0,8}|bench\w{0,8})(?![A-Za-z])",
    re.IGNORECASE,
)
OTHER = re.compile(
    r"(?<![A-Za-z])(?:sampl\w{0,8}|download\w{0,8}|load\w{0,8}|sav\w{0,8}|map\w{0,8}|filter\w{0,8}|tokeni[sz]\w{0,8}"
    r"|extract\w{0,8}|prepar\w{0,8}|generat\w{0,8}|fetch\w{0,8}|cach\w{0,8}|scan\w{0,8}|collat\w{0,8}|writ\w{0,8}"
    r"|upload\w{0,8}|index\w{0,8}|split\w{0,8}|shard\w{0,8}|warm\w{0,8}|calibrat\w{0,8}|quanti\w{0,8}|build\w{0,8}"
    r"|convert\w{0,8}|merg\w{0,8}|render\w{0,8}|encod\w{0,8}|embed\w{0,8}|rollout\w{0,8})(?![A-Za-z])",
    re.IGNORECASE,
)
"""Work that is neither training nor its evaluation."""
TRAINING_NAME = re.compile(
    r"(?:\s|[^\w\s]|\b(?:train|training|trainer|fit|fitting|epochs?|steps?|iter(?:ation)?s?|batch(?:es)?|rank|gpu|step_?loss|loss|lr"
    r"|acc|in|of|the|model|progress|\d[\de]{0,20}|avr_loss|current|running|mini)\b){0,100}",
    re.IGNORECASE,
)
"""A description that holds nothing but words of a training run. Each character belongs to only one kind of piece: a
number's point and sign are pieces of their own, or `1.1.1.1` could be read in a million ways."""
NAMES_TRAINING = re.compile(
    r"(?<![A-Za-z])(?:train(?:ing)?|fit(?:ting)?|epochs?|steps?|iter(?:ation)?s?|batch(?:es)?)(?![A-Za-z])",
    re.IGNORECASE,
)

NOT_PROGRESS_BEFORE = re.compile(
    r"(?<![A-Za-z])(?:load\w{0,4}|resum\w{0,4}|restor\w{0,4}|best|sav(?:ed|ing|e)|checkpoint\w{0,2}|planned|warm-?up"
    r"|using|skip\w{0,5}|continu\w{0,5}|patience|plot\w{0,5}|from|until|last|every|after|stopp\w{0,3}|schedul\w{0,3}"
    r"|total|max|num|if|since|before|milestone\w?|inner|ppo)(?![A-Za-z])",
    re.IGNORECASE,
)
"""Before the epoch's number, where a line speaks of an epoch that it is not doing."""
NOT_PROGRESS_AFTER = re.compile(
    r"(?<![A-Za-z])(?:early stopping|improved?|reducing|sav(?:ed|ing)|load(?:ed|ing)|restor(?:ed|ing)|resum(?:ed|ing)"
    r"|planned|checkpoint saved|will be|adjusting|skipp(?:ed|ing))(?![A-Za-z])",
    re.IGNORECASE,
)
METRIC = re.compile(
    r"(?<![A-Za-z])(?:loss|losses|acc|accuracy|err|error|perplexity|ppl|f1|auc|dice|m?iou|m?ap|bleu|wer|cer|rmse"
    r"|mse|mae|r2|reward|score|precision|recall|nll|elbo|fid|psnr|ssim|cost|objective|time|损失|准确率|精度|verlust|perte"
    r"|потер\w|損失|손실|정확도|pérdida|perda)(?![A-Za-z])",
    re.IGNORECASE,
)
DECIMAL = re.compile(r"(?<![\w.])-?\d{1,12}\.\d{1,17}(?![\d.])")
RATE = re.compile(r"(?:\blr\b|learning[_ ]?rate|momentum|decay)[\s:=\w]{0,12}[\d.eE+-]{1,24}", re.IGNORECASE)
"""A setting that is printed where an epoch begins."""
FINISHED = re.compile(
    r"(?<![A-Za-z])(?:end|ended|finish\w{0,3}|done|complet\w{0,3}|took|time taken|elapsed|summary|result\w?|average)"
    r"(?![A-Za-z])"
    r"|完成|结束|終了|完了|terminé|beendet|fertig|abgeschlossen|заверш|окончен|completada|concluída|완료",
    re.IGNORECASE,
)
BEGINS = re.compile(
    r"(?<![A-Za-z])(?:begin\w{0,4}|start\w{0,4}|going into|entering|beginn\w{0,3}|commence\w?)(?![A-Za-z])"
    r"|开始|開始|начал|début|comienz|início|시작",
    re.IGNORECASE,
)
DURATION = re.compile(
    r"(?<![\w.])\d{1,6}(?:\.\d{1,9})?\s?(?:s|sec|secs|seconds|min|mins|minutes|ms|h)(?![A-Za-z/])|\d:\d{2}:\d{2}|\b\d{2}:\d{2}\b"
)

ANNOUNCED_EPOCHS = re.compile(
    r"(?<![A-Za-z_])(?:epochs|num_?(?:train_)?epochs?|max_?epochs?|n_?epochs?|total_?epochs?|epoch_num|train_epochs?)(?![A-Za-z_])"
    r"[\"']?\s{0,8}[:=]\s{0,8}(?P<epochs>\d{1,9}(?:\.0)?)(?![\d./])",
    re.IGNORECASE,
)
"""``epochs: 3`` in a configuration that is printed."""
