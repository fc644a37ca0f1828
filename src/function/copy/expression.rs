//! Arithmetic over numbers of the event: `+ - * / ( )`, numbers, dotted paths.

use super::path::Path;
use crate::event::{Rejection, wrong};
use serde_json::Value;

#[derive(Debug)]
pub enum Expr {
    Number(f64),
    Path(Path),
    Negate(Box<Expr>),
    Both(u8, Box<Expr>, Box<Expr>),
}

impl Expr {
    pub fn eval(&self, picked: &[Option<Value>]) -> Result<f64, Rejection> {
        Ok(match self {
            Expr::Number(number) => *number,
            Expr::Path(path) => {
                let value = path.find(picked)?;
                value.as_f64().ok_or_else(|| wrong(&path.whole, value, "a number"))?
            }
            Expr::Negate(inner) => -inner.eval(picked)?,
            Expr::Both(operator, left, right) => {
                let (left, right) = (left.eval(picked)?, right.eval(picked)?);
                match operator {
                    b'+' => left + right,
                    b'-' => left - right,
                    b'*' => left * right,
                    _ => left / right,
                }
            }
        })
    }
}

const MAX_EXPRESSION_BYTES: usize = 1000;

/// Reads an expression; the names that it needs are added to `names`.
pub fn parse(text: &str, names: &mut Vec<Box<str>>) -> Result<Expr, String> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("longer than {MAX_EXPRESSION_BYTES} bytes"));
    }
    let mut parser = Parser { text, at: 0, names };
    let expr = parser.sum()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected("an operator")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a mut Vec<Box<str>>,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &str) -> String {
        format!("expected {expected} at character {}", self.at + 1)
    }

    fn sum(&mut self) -> Result<Expr, String> {
        let mut left = self.product()?;
        while let Some(operator @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            left = Expr::Both(operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, String> {
        let mut left = self.atom()?;
        while let Some(operator @ (b'*' | b'/')) = self.peek() {
            self.at += 1;
            left = Expr::Both(operator, Box::new(left), Box::new(self.atom()?));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Expr, String> {
        match self.peek() {
            Some(b'-') => {
                self.at += 1;
                Ok(Expr::Negate(Box::new(self.atom()?)))
            }
            Some(b'(') => {
                self.at += 1;
                let inner = self.sum()?;
                if self.peek() != Some(b')') {
                    return Err(self.unexpected("`)`"));
                }
                self.at += 1;
                Ok(inner)
            }
            Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.') => {
                let rest = &self.text[self.at..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
                let word = &rest[..end];
                if !b.is_ascii_alphabetic() && b != b'_' {
                    let number = word.parse().map_err(|_| self.unexpected("a number"))?;
                    self.at += end;
                    return Ok(Expr::Number(number));
                }
                self.at += end;
                Ok(Expr::Path(Path::new(word, self.names)))
            }
            _ => Err(self.unexpected("a number, a field or `(`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::pick;

    fn score(text: &str) -> Result<f64, Rejection> {
        let mut names = Vec::new();
        let score = parse(text, &mut names).unwrap();
        score.eval(&pick(r#"{"a": 6, "b": {"c": 2.5}, "s": "x"}"#, &names).unwrap())
    }

    #[test]
    fn expressions_follow_the_usual_order() {
        for (text, value) in [("1+2*3", 7.0), ("(1+2)*3", 9.0), ("-a/2 - -1", -2.0), ("a - 1 - 2", 3.0), ("b.c * .5", 1.25)] {
            assert_eq!(score(text).unwrap(), value, "{text}");
        }
        assert_eq!(score("s + 1").unwrap_err().code, "wrong_type");
        assert_eq!(score("nope").unwrap_err().field.as_deref(), Some("nope"));
        for text in ["", "1 +", "(1", "1 2", "a $ b", "1.2.3", "é"] {
            assert!(parse(text, &mut Vec::new()).is_err(), "{text}");
        }
    }
}
