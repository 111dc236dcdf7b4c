//! `#[guest::test]`: what it reads of the function, and what it adds.

use crate::options::Options;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, Error, Expr, ExprLit, ItemFn, Lit, LitStr, Meta, ReturnType, Safety, meta, parse2,
};

/// The bits of an entry's flags (`abi::tests`), by name: their values are the contract's.
struct Found {
    ignored: bool,
    reason: String,
    should_panic: bool,
    expected: String,
}

/// The function as it is, and the line that lists it; what is wrong with it, in place of that.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: ItemFn = match parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = Error::new(error.span(), "`#[test]` stands before a function with a body");
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let read = Options::parse(options).and_then(|options| {
        check(&function)?;
        Ok((options, found(&mut function)?))
    });
    match read {
        Ok((options, found)) => {
            let line = entry(&function, &options, &found);
            quote! {
                #[cfg(test)]
                #function
                #[cfg(test)]
                #line
            }
        }
        // Said wherever it is compiled, and not for tests alone.
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#[allow(dead_code, reason = "its test is not there")] #function #error)
        }
    }
}

/// The line that lists it.
fn entry(function: &ItemFn, options: &Options, found: &Found) -> TokenStream {
    let ident = &function.sig.ident;
    let name = ident.unraw().to_string();
    let Found { ignored, reason, should_panic, expected } = found;
    let nanoseconds = options.timeout.unwrap_or_default().as_nanos();
    let timeout = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
    quote! {
        ::guest::test_entry!(
            #ident, #name,
            ignored = #ignored, #reason,
            should_panic = #should_panic, #expected,
            timeout = #timeout
        );
    }
}

/// A test is called with nothing, and returns.
fn check(function: &ItemFn) -> Result<(), Error> {
    let signature = &function.sig;
    let wrong =
        |tokens: &dyn ToTokens, what: &str| Err(Error::new_spanned(tokens.to_token_stream(), what));
    if let Some(it) = &signature.asyncness {
        return wrong(it, "a test cannot be `async`: nothing in a guest would run it");
    }
    if let Safety::Unsafe(it) = &signature.safety {
        return wrong(it, "a test cannot be `unsafe`: nobody answers for what it asks");
    }
    if let Some(it) = &signature.abi {
        return wrong(it, "a test is an ordinary function, without `extern`");
    }
    if !signature.generics.params.is_empty() {
        return wrong(
            &signature.generics,
            "a test cannot be generic: nobody says for what it is to run",
        );
    }
    if !signature.inputs.is_empty() {
        return wrong(&signature.inputs, "a test takes no arguments");
    }
    Ok(())
}

/// Takes what the standard library's harness reads off the function.
fn found(function: &mut ItemFn) -> Result<Found, Error> {
    let mut found = Found {
        ignored: false,
        reason: String::new(),
        should_panic: false,
        expected: String::new(),
    };
    let mut others = Vec::new();
    for attribute in std::mem::take(&mut function.attrs) {
        if attribute.path().is_ident("ignore") {
            found.ignored = true;
            found.reason = text_of(&attribute, None)?;
        } else if attribute.path().is_ident("should_panic") {
            if !matches!(function.sig.output, ReturnType::Default) {
                let why = "a test that is to panic returns nothing";
                return Err(Error::new_spanned(&function.sig.output, why));
            }
            found.should_panic = true;
            found.expected = text_of(&attribute, Some("expected"))?;
        } else {
            others.push(attribute);
        }
    }
    function.attrs = others;
    Ok(found)
}

/// The text of `#[name]`, `#[name = "text"]` and, where there is a key, `#[name(key = "text")]`.
fn text_of(attribute: &Attribute, key: Option<&str>) -> Result<String, Error> {
    match &attribute.meta {
        Meta::Path(_) => Ok(String::new()),
        Meta::NameValue(it) => match &it.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
            other => Err(Error::new_spanned(other, "a text is expected here: \"...\"")),
        },
        Meta::List(list) => {
            let Some(key) = key else {
                return Err(Error::new_spanned(list, "there is only `#[ignore = \"why\"]`"));
            };
            let mut text = None;
            let parser = meta::parser(|it| {
                if !it.path.is_ident(key) {
                    return Err(it.error(format!("there is only `{key} = \"...\"`")));
                }
                text = Some(it.value()?.parse::<LitStr>()?.value());
                Ok(())
            });
            list.parse_args_with(parser)?;
            let nothing = || Error::new_spanned(list, format!("`{key} = \"...\"` is missing"));
            text.ok_or_else(nothing)
        }
    }
}
