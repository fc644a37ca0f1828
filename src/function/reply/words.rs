//! Words that the guard knows: numbers, units, and those that promise.

/// Numbers that are written as words. `one` stands for so much else that it counts before a unit alone.
pub const NUMBERS: &[(&str, &str)] = &[
    ("zero", "0"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("thirteen", "13"),
    ("fourteen", "14"),
    ("fifteen", "15"),
    ("sixteen", "16"),
    ("seventeen", "17"),
    ("eighteen", "18"),
    ("nineteen", "19"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("forty", "40"),
    ("fifty", "50"),
    ("sixty", "60"),
    ("seventy", "70"),
    ("eighty", "80"),
    ("ninety", "90"),
    ("hundred", "100"),
    ("thousand", "1000"),
    ("million", "1000000"),
    ("dozen", "12"),
    ("half", "half"),
    ("double", "double"),
    ("twice", "double"),
    ("triple", "triple"),
    ("二", "2"),
    ("两", "2"),
    ("三", "3"),
    ("四", "4"),
    ("五", "5"),
    ("六", "6"),
    ("七", "7"),
    ("八", "8"),
    ("九", "9"),
    ("十", "10"),
    ("百", "100"),
    ("千", "1000"),
    ("万", "10000"),
    ("亿", "100000000"),
    ("零", "0"),
    ("半", "half"),
    ("billion", "1000000000"),
    ("trillion", "1000000000000"),
    ("lakh", "100000"),
    ("crore", "10000000"),
];

/// Letters that multiply the number before them.
pub const MULTIPLIERS: [&str; 5] = ["k", "m", "mn", "bn", "grand"];

/// Words that promise a time or money, and must stand in the approved reply.
pub const PROMISES: &[&str] = &[
    "today",
    "tonight",
    "tomorrow",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "immediately",
    "free",
    "gratis",
    "complimentary",
    "refund",
    "refunded",
    "compensate",
    "compensation",
    "discount",
    "credit",
    "credited",
    "guarantee",
    "guaranteed",
    "liable",
    "liability",
];

/// The same in Chinese, whose words stand without blanks.
pub const SAID: &[&str] = &["今天", "明天", "后天", "立即", "马上", "免费", "退款", "赔", "折扣", "优惠", "保证"];

/// Behind these `a` is a number: `in a week`.
pub const BEFORE_ONE: [&str; 8] = ["in", "within", "after", "for", "per", "every", "about", "than"];

/// One, where a unit follows.
pub const ONES: [&str; 6] = ["a", "an", "one", "next", "same", "一"];

/// A unit of time or money, or a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub name: &'static str,
    pub is_time: bool,
}

/// Units of time; of words without their plural.
const TIMES: &[(&str, &str)] = &[
    ("second", "second"),
    ("sec", "second"),
    ("minute", "minute"),
    ("min", "minute"),
    ("hour", "hour"),
    ("hr", "hour"),
    ("day", "day"),
    ("weekday", "day"),
    ("week", "week"),
    ("month", "month"),
    ("year", "year"),
    ("night", "night"),
    ("fortnight", "fortnight"),
    ("quarter", "quarter"),
    ("weekend", "weekend"),
    ("秒", "second"),
    ("钟", "minute"),
    ("时", "hour"),
    ("天", "day"),
    ("日", "day"),
    ("周", "week"),
    ("月", "month"),
    ("年", "year"),
];

/// Units of money, and shares, likewise.
const SUMS: &[(&str, &str)] = &[
    ("$", "dollar"),
    ("dollar", "dollar"),
    ("buck", "dollar"),
    ("franc", "franc"),
    ("chf", "franc"),
    ("yen", "yen"),
    ("jpy", "yen"),
    ("usd", "dollar"),
    ("cent", "cent"),
    ("€", "euro"),
    ("euro", "euro"),
    ("eur", "euro"),
    ("£", "pound"),
    ("pound", "pound"),
    ("gbp", "pound"),
    ("¥", "yuan"),
    ("￥", "yuan"),
    ("yuan", "yuan"),
    ("cny", "yuan"),
    ("rmb", "yuan"),
    ("元", "yuan"),
    ("块", "yuan"),
    ("₹", "rupee"),
    ("rupee", "rupee"),
    ("%", "percent"),
    ("％", "percent"),
    ("percent", "percent"),
    ("point", "point"),
    ("voucher", "voucher"),
];

/// The unit that a word in small letters, or a sign, is.
pub fn unit(word: &str) -> Option<Unit> {
    let find = |word: &str| {
        [(TIMES, true), (SUMS, false)].into_iter().find_map(|(table, is_time)| {
            let (_, name) = table.iter().find(|(known, _)| *known == word)?;
            Some(Unit { name, is_time })
        })
    };
    find(word).or_else(|| find(word.strip_suffix('s')?))
}
