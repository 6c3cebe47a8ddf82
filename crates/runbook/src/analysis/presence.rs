//! Which paths have a value in every run.

use minijinja::machinery::ast::Expr;

use super::super::template::parts;
use super::super::types::Type;
use super::Analysis;

impl Analysis<'_> {
    /// Returns the type of a path that has a value in every run, which may be null: an input, the output of a step that
    /// runs in any case, or a field of such. A key of a map and an item of a list can be missing.
    pub(crate) fn type_of_present(&self, path: &Expr<'_>) -> Option<Type> {
        let (of, name) = match path {
            Expr::Var(var) if var.id == "inputs" => {
                return Some(Type::Record(self.symbols.inputs.clone()));
            }
            Expr::Var(var) => {
                let output = self.symbols.outputs.get(*self.symbols.steps.get(var.id)?)?;
                return (!output.presence.is_conditional()).then(|| output.ty(false));
            }
            Expr::GetAttr(get) => (&get.expr, get.name),
            Expr::GetItem(get) => (&get.expr, parts::word(&get.subscript_expr)?),
            _ => return None,
        };
        let Type::Record(record) = self.type_of_present(of)? else { return None };
        let field = record.field(name)?;
        // A field that only some of several records have is not required, and not optional either.
        let is_there = field.required || field.default.is_some();
        (is_there || matches!(field.ty, Type::Optional(_))).then(|| field.ty.clone())
    }
}
