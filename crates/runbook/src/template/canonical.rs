//! The canonical text of expressions: `a  .b` and `a.b` are the same condition. Used to recognize that
//! a step runs under the same `when` as the step whose output it uses, and in messages.

use std::fmt::Write as _;

use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, UnaryOpKind};

/// Returns the canonical text of an expression.
pub(crate) fn canonical(expr: &Expr<'_>) -> String {
    let mut text = String::new();
    write(expr, &mut text);
    text
}

fn write(expr: &Expr<'_>, out: &mut String) {
    match expr {
        Expr::Var(var) => out.push_str(var.id),
        Expr::Const(constant) => match constant.value.is_none() {
            true => out.push_str("none"),
            false => drop(write!(out, "{:?}", constant.value)),
        },
        Expr::GetAttr(get) => {
            write_parenthesized(&get.expr, out);
            out.push('.');
            out.push_str(get.name);
        }
        Expr::GetItem(get) => write_item(&get.expr, &get.subscript_expr, out),
        Expr::Slice(slice) => {
            write_parenthesized(&slice.expr, out);
            out.push('[');
            for bound in [&slice.start, &slice.stop, &slice.step] {
                if let Some(bound) = bound {
                    write(bound, out);
                }
                out.push(':');
            }
            out.push(']');
        }
        Expr::UnaryOp(op) => {
            out.push_str(match op.op {
                UnaryOpKind::Not => "not ",
                UnaryOpKind::Neg => "-",
            });
            write_parenthesized(&op.expr, out);
        }
        Expr::BinOp(op) => {
            write_parenthesized(&op.left, out);
            let _ = write!(out, " {} ", binary(op.op));
            write_parenthesized(&op.right, out);
        }
        Expr::Compare(compare) => {
            write_parenthesized(&compare.expr, out);
            for op in &compare.ops {
                let _ = write!(out, " {} ", comparison(op.op));
                write_parenthesized(&op.expr, out);
            }
        }
        Expr::IfExpr(choice) => {
            write_parenthesized(&choice.true_expr, out);
            out.push_str(" if ");
            write_parenthesized(&choice.test_expr, out);
            if let Some(other) = &choice.false_expr {
                out.push_str(" else ");
                write_parenthesized(other, out);
            }
        }
        Expr::Filter(filter) => {
            match &filter.expr {
                // Filters are applied from left to right.
                Some(expr @ Expr::Filter(_)) => write(expr, out),
                Some(expr) => write_parenthesized(expr, out),
                None => {}
            }
            out.push_str(" | ");
            write_predicate(filter.name, &filter.args, out);
        }
        Expr::Test(test) => {
            write_parenthesized(&test.expr, out);
            out.push_str(" is ");
            write_predicate(test.name, &test.args, out);
        }
        Expr::Call(call) => {
            write(&call.expr, out);
            write_call("", &call.args, out);
        }
        Expr::List(list) => write_items(&list.items, '[', ']', out),
        Expr::Tuple(tuple) => write_items(&tuple.items, '(', ')', out),
        Expr::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.keys.iter().zip(&map.values).enumerate() {
                separate(index, out);
                write(key, out);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Writes an attribute: `a['b']` is `a.b`.
fn write_item(of: &Expr<'_>, subscript: &Expr<'_>, out: &mut String) {
    write_parenthesized(of, out);
    if let Expr::Const(constant) = subscript
        && let Some(name) = constant.value.as_str()
    {
        out.push('.');
        out.push_str(name);
        return;
    }
    out.push('[');
    write(subscript, out);
    out.push(']');
}

fn write_parenthesized(expr: &Expr<'_>, out: &mut String) {
    let simple = matches!(
        expr,
        Expr::Var(_)
            | Expr::Const(_)
            | Expr::GetAttr(_)
            | Expr::GetItem(_)
            | Expr::Slice(_)
            | Expr::List(_)
            | Expr::Map(_)
    );
    if simple {
        return write(expr, out);
    }
    out.push('(');
    write(expr, out);
    out.push(')');
}

/// Writes a filter or a test, which have no parentheses where they have no arguments.
fn write_predicate(name: &str, args: &[CallArg<'_>], out: &mut String) {
    match args {
        [] => out.push_str(name),
        _ => write_call(name, args, out),
    }
}

fn write_call(name: &str, args: &[CallArg<'_>], out: &mut String) {
    out.push_str(name);
    out.push('(');
    for (index, arg) in args.iter().enumerate() {
        separate(index, out);
        let expr = match arg {
            CallArg::Pos(expr) => expr,
            CallArg::Kwarg(name, expr) => {
                out.push_str(name);
                out.push('=');
                expr
            }
            CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => {
                out.push('*');
                expr
            }
        };
        write(expr, out);
    }
    out.push(')');
}

fn write_items(items: &[Expr<'_>], open: char, close: char, out: &mut String) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        separate(index, out);
        write(item, out);
    }
    out.push(close);
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push_str(", ");
    }
}

/// Returns the text of a binary operator.
pub(crate) fn binary(op: BinOpKind) -> &'static str {
    match op {
        BinOpKind::Eq => "==",
        BinOpKind::Ne => "!=",
        BinOpKind::Lt => "<",
        BinOpKind::Lte => "<=",
        BinOpKind::Gt => ">",
        BinOpKind::Gte => ">=",
        BinOpKind::ScAnd => "and",
        BinOpKind::ScOr => "or",
        BinOpKind::Add => "+",
        BinOpKind::Sub => "-",
        BinOpKind::Mul => "*",
        BinOpKind::Div => "/",
        BinOpKind::FloorDiv => "//",
        BinOpKind::Rem => "%",
        BinOpKind::Pow => "**",
        BinOpKind::Concat => "~",
        BinOpKind::In => "in",
    }
}

/// Returns the text of a comparison.
pub(crate) fn comparison(op: CompareOpKind) -> &'static str {
    match op {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}
