"""What a column's name suggests: English, Chinese, and pinyin with its usual abbreviations.

A hint is never more than an indication. Chinese words match anywhere in the name; Latin words
match whole words, since "xm" inside "taxmonth" means nothing.
"""

from __future__ import annotations

import re
import unicodedata

_HINTS: dict[str, tuple[str, str]] = {
    # kind: (Latin words or phrases, Chinese fragments)
    "resident-id": (
        "id card|idcard|id number|id no|idno|identity number|identity card|identity no|citizen id|"
        "resident id|sfz|sfzh|sfzhm|shenfenzheng|shenfenzhenghao|zjhm|"
        "zhengjianhaoma|zjh|certno|cert no|national id|card no",
        "身份证|证件号|公民身份|身份号码",
    ),
    "us-ssn": ("ssn|social security|social security number", "社会安全号"),
    "kr-rrn": ("rrn|jumin|resident registration number", "주민등록"),
    "in-aadhaar": ("aadhaar|aadhar|uidai", ""),
    "pl-pesel": ("pesel", ""),
    "fr-nir": ("nir|insee|numero securite sociale", ""),
    "passport": ("passport|passport no|passport number|huzhao|huzhaohao|hzh", "护照"),
    "driving-licence": (
        "drivers|driver licence|drivers license|driving licence|dl number|jsz|jiashizheng",
        "驾驶证|驾照",
    ),
    "plate": ("plate|license plate|licence plate|plate no|car no|cph|chepai|chepaihao", "车牌|号牌"),
    "phone": (
        "phone|telephone|tel|mobile|cell|cellphone|phone number|mobile no|msisdn|sjh|sjhm|shouji|shoujihao|"
        "shoujihaoma|dianhua|lxdh|lianxidianhua|lianxifangshi|dhhm|contact phone",
        "手机|电话|联系方式",
    ),
    "email": ("email|e mail|mail|mail address|youxiang|dzyx", "邮箱|电子邮件"),
    "name": (
        "first|last|maiden|middle|first name|last name|family name|given name|middle name|maiden name|"
        "surname|forename|full name|fullname|firstname|lastname|patient name|person name|user name|real name|"
        "contact name|guardian name|xm|xingming|xing ming|zhenshixingming|name",
        "姓名|名字|联系人|监护人",
    ),
    "address": (
        "address|addr|street|home address|residence address|place of residence|postal address|"
        "zz|zhuzhi|dizhi|jtzz|jtdz|xzz|xianzhuzhi|lianxidizhi",
        "地址|住址|住所|户籍地|居住地|现住",
    ),
    "birth-date": (
        "birthdate|birth date|date of birth|birthday|dob|birth|csrq|chushengriqi|shengri|birth day|born",
        "出生|生日",
    ),
    "latitude": ("latitude|lat|wd|weidu", "纬度"),
    "longitude": ("longitude|lon|lng|long|jd|jingdu", "经度"),
    "text": (
        "note|notes|comment|comments|remark|remarks|description|narrative|bz|beizhu|liuyan|neirong|shuoming",
        "备注|说明|描述|主诉|内容",
    ),
    "photo": ("photo|picture|image|portrait|face|zp|zhaopian|touxiang|tupian", "照片|头像|人脸|图片"),
    "ip": ("ip|ip address|ipaddr|client ip|remote addr", ""),
    "mac": ("mac|mac address|bssid|wifi mac|bluetooth mac", ""),
    "device-id": (
        "imei|imsi|idfa|oaid|android id|device id|deviceid|udid|shebeihao|meid",
        "设备号|设备标识|串号",
    ),
    "bank-card": ("card number|bank card|bankcard|credit card|yhkh|yinhangka", "银行卡|卡号"),
    "record-id": ("id|uuid|guid|uid|openid|bianhao|bh|key$|no$|num$|code$", "编号|序号|标识"),
}

_PERSONS = (
    "patient|person|resident|citizen|subject|user|member|people|participant|contact|case|visitor|passenger|traveller|"
    "employee|client|customer|individual|host|yonghu|huanzhe|renyuan|jumin|zhanghao"
)
_PERSONS_CHINESE = "患者|病人|人员|居民|用户|旅客|个人|当事人|病例|密接|账号"

# "lab name" and "event name" name things; "patient name" is listed above as a whole.
_NAMES_OF_THINGS = re.compile(r"\b\w+ name\b")

_LATIN = {kind: re.compile(rf"\b(?:{words})\b") for kind, (words, _) in _HINTS.items() if words}
_CHINESE = {kind: re.compile(words) for kind, (_, words) in _HINTS.items() if words}
_A_PERSON = re.compile(rf"(?:{_PERSONS})|{_PERSONS_CHINESE}")
_PERSON = re.compile(rf"\b(?:{_PERSONS})(?:s?\b|id\b|uuid\b|no\b)|{_PERSONS_CHINESE}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[^\w]+|_+")
_NAME_TAIL = re.compile(
    r"\b(?:first|last|family|given|middle|maiden|full|patient|person|user|real|contact|guardian|resident|citizen)"
    r" name\b"
)


def hints(name: str) -> frozenset[str]:
    """The kinds that a column of this name may hold."""
    words = spaced(name)
    found = {kind for kind, rule in _LATIN.items() if rule.search(words)}
    found |= {kind for kind, rule in _CHINESE.items() if rule.search(name)}
    if "name" in found and _NAMES_OF_THINGS.search(words) and not _NAME_TAIL.search(words):
        found.discard("name")
    if "phone" in found or "email" in found or "ip" in found or "mac" in found:
        found.discard("address")
    return frozenset(found)


def of_a_person(name: str) -> bool:
    """Whether the name speaks of a person: "patient_id", "患者编号"."""
    return bool(_PERSON.search(spaced(name)) or _PERSON.search(name))


def is_a_person(name: str) -> bool:
    """Whether the name is nothing but a word for a person: "PATIENT"."""
    return bool(_A_PERSON.fullmatch(spaced(name)))


def spaced(name: str) -> str:
    """The words of a name in lower case, split at underscores, punctuation and camel case."""
    plain = unicodedata.normalize("NFKC", name).strip("\ufeff \t")
    return _SEPARATORS.sub(" ", _CAMEL.sub(" ", plain)).strip().lower()
