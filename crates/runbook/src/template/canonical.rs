//! The canonical text of expressions: `a  .b` and `a.b` are the same condition. Used to recognize that
//! a step runs under the same `when` as the step whose output it uses.

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
        Expr::Const(constant) => {
            let _ = write!(out, "{:?}", constant.value);
        }
        Expr::GetAttr(get) => {
            write(&get.expr, out);
            out.push('.');
            out.push_str(get.name);
        }
        Expr::GetItem(get) => write_item(&get.expr, &get.subscript_expr, out),
        Expr::Slice(slice) => {
            write(&slice.expr, out);
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
            if let Some(expr) = &filter.expr {
                write_parenthesized(expr, out);
            }
            out.push('|');
            write_call(filter.name, &filter.args, out);
        }
        Expr::Test(test) => {
            write_parenthesized(&test.expr, out);
            out.push_str(" is ");
            write_call(test.name, &test.args, out);
        }
        Expr::Call(call) => {
            write(&call.expr, out);
            write_call("", &call.args, out);
        }
        Expr::List(list) => write_items(&list.items, '[', ']', out),
        Expr::Tuple(tuple) => write_items(&tuple.items, '(', ')', out),
        Expr::Map(map) => {
            write_items(&map.keys, '{', ':', out);
            write_items(&map.values, ' ', '}', out);
        }
    }
}

/// Writes an attribute: `a['b']` is `a.b`.
fn write_item(of: &Expr<'_>, subscript: &Expr<'_>, out: &mut String) {
    write(of, out);
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
    let simple =
        matches!(expr, Expr::Var(_) | Expr::Const(_) | Expr::GetAttr(_) | Expr::GetItem(_));
    if simple {
        return write(expr, out);
    }
    out.push('(');
    write(expr, out);
    out.push(')');
}

fn write_call(name: &str, args: &[CallArg<'_>], out: &mut String) {
    out.push_str(name);
    out.push('(');
    for arg in args {
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
        out.push(',');
    }
    out.push(')');
}

fn write_items(items: &[Expr<'_>], open: char, close: char, out: &mut String) {
    out.push(open);
    for item in items {
        write(item, out);
        out.push(',');
    }
    out.push(close);
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
