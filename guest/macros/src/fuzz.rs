//! `#[guest::fuzz]`: what it reads of the function, and what it adds.

use crate::options::Options;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Error, ItemFn, ReturnType, Safety, parse2};

/// The function as it is, and the line that lists it; what is wrong with it, in place of that.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let why = "`#[guest::fuzz]` stands before a function with a body";
            let error = Error::new(error.span(), why).to_compile_error();
            return quote!(#error #item);
        }
    };
    let read = Options::parse(options).and_then(|options| check(&function).map(|()| options));
    let line = match read {
        Ok(options) => {
            let ident = &function.sig.ident;
            let name = ident.unraw().to_string();
            let nanoseconds = options.timeout.unwrap_or_default().as_nanos();
            let timeout = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
            quote!(::guest::fuzz_entry!(#ident, #name, timeout = #timeout);)
        }
        Err(error) => error.to_compile_error(),
    };
    quote!(#function #line)
}

/// What a function that is fuzzed cannot be.
fn check(function: &ItemFn) -> Result<(), Error> {
    let signature = &function.sig;
    let wrong =
        |tokens: &dyn ToTokens, what: &str| Err(Error::new_spanned(tokens.to_token_stream(), what));
    if let Some(it) = &signature.asyncness {
        return wrong(it, "what is fuzzed cannot be `async`: nothing in a guest would run it");
    }
    if let Safety::Unsafe(it) = &signature.safety {
        return wrong(it, "what is fuzzed cannot be `unsafe`: nobody answers for what it asks");
    }
    if let Some(it) = &signature.abi {
        return wrong(it, "what is fuzzed is an ordinary function, without `extern`");
    }
    let lifetimes = signature.generics.lifetimes().count();
    if signature.generics.params.len() != lifetimes {
        return wrong(&signature.generics, "what is fuzzed cannot be generic");
    }
    if signature.inputs.len() != 1 {
        return wrong(&signature, "what is fuzzed takes its input and nothing else: `data: &[u8]`");
    }
    if !matches!(signature.output, ReturnType::Default) {
        let why = "what is fuzzed returns nothing: a finding is a panic, or what else ends a guest";
        return wrong(&signature.output, why);
    }
    Ok(())
}
